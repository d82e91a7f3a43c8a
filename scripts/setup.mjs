// Everything between a clone and a working `lrqat`: system packages, npm packages, native build, bundles. Idempotent; each
// stage first asks whether there is anything to do. Plain Node: it runs before node_modules exists.
//   --dev        also what lint and tests need (clang-format)
//   --only NAME  one stage alone
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { main, printStages, root, run, ScriptError, stage, versionOf } from './lib.mjs';

const requiredNode = [20, 10];

export function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < requiredNode[0] || (major === requiredNode[0] && minor < requiredNode[1])) {
    throw new ScriptError(`Node ${requiredNode.join('.')} or newer is needed; this is ${process.versions.node}`);
  }
  return `Node ${process.versions.node}`;
}

const works = (command) => versionOf(command) !== null;
const oneDnnHeader = 'oneapi/dnnl/dnnl.hpp';

/** What the build needs: how to see that it is there, its Debian package, and whether the product works without it. */
const tools = [
  { name: 'CMake 3.20 or newer', package: 'cmake', present: () => works('cmake') },
  { name: 'a C++20 compiler', package: 'g++', present: () => works('c++') || works('g++') || works('clang++') },
  { name: 'Ninja or make', package: 'ninja-build', present: () => works('ninja') || works('make') },
  {
    name: 'oneDNN (without it matrix products are several times slower)',
    package: 'libdnnl-dev',
    present: () =>
      ['/usr/include', '/usr/local/include', '/opt/homebrew/include'].some((d) =>
        existsSync(path.join(d, oneDnnHeader)),
      ),
    optional: true,
  },
  { name: 'clang-format', package: 'clang-format', present: () => works('clang-format'), devOnly: true },
];

/** `sudo -n` where it works without asking, nothing for root; null: neither. */
function aptPrefix() {
  if (process.getuid?.() === 0) return [];
  return versionOf('sudo', ['-n', 'true']) === null ? null : ['sudo', '-n'];
}

function byHand(missing) {
  const list = missing.map((tool) => `  - ${tool.name}`).join('\n');
  const how = {
    darwin: 'With Homebrew: xcode-select --install; brew install cmake ninja libomp onednn clang-format',
    win32:
      'Install Visual Studio Build Tools 2022 with "Desktop development with C++" (it brings CMake and Ninja) and run this from its developer prompt.',
  }[process.platform];
  return `Missing:\n${list}\n${how ?? 'Install them with the package manager of this system.'} Then run the same command again.`;
}

export function systemPackages(dev) {
  const wanted = tools.filter((tool) => dev || !tool.devOnly);
  const missing = process.platform === 'win32' ? [] : wanted.filter((tool) => !tool.present());
  if (missing.length === 0) return 'all present';
  const needed = missing.filter((tool) => !tool.optional);

  if (!works('apt-get')) {
    if (needed.length > 0) throw new ScriptError(byHand(needed));
    console.log(byHand(missing));
    return 'going on without';
  }
  const names = missing.map((tool) => tool.package);
  const prefix = aptPrefix();
  if (prefix === null) {
    const command = `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names.join(' ')}`;
    const message = `System packages are missing and neither root nor password-less sudo is there to install them. Run\n\n  ${command}\n\nand then this again.`;
    if (needed.length > 0) throw new ScriptError(message);
    console.log(message);
    return 'going on without';
  }
  const apt = (...args) => {
    const [command, ...rest] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', ...args];
    run(command, rest);
  };
  apt('update');
  apt('install', '-y', '--no-install-recommends', ...names);
  const still = needed.filter((tool) => !tool.present());
  if (still.length > 0)
    throw new ScriptError(
      `apt installed ${names.join(', ')}, yet this is still missing: ${still.map((tool) => tool.name).join(', ')}`,
    );
  return `installed ${names.join(', ')}`;
}

/** True when node_modules holds what package-lock.json asks for (optional packages of other platforms aside). */
function npmIsCurrent() {
  const installed = path.join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const packages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
  const have = packages(installed);
  return Object.entries(packages(path.join(root, 'package-lock.json'))).every(
    ([name, entry]) =>
      name === '' || (have[name] === undefined ? entry.optional === true : have[name].version === entry.version),
  );
}

function npmPackages() {
  if (npmIsCurrent()) return 'up to date';
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  // npm names its own entry file to the scripts it runs; started without npm, ask the shell for it.
  const npm = process.env.npm_execpath;
  if (npm?.endsWith('.js')) run(process.execPath, [npm, ...args]);
  else run('npm', args, { shell: process.platform === 'win32' });
  return 'installed';
}

const stages = {
  Node: checkNode,
  'system packages': systemPackages,
  'npm packages': npmPackages,
  'native build': () => run(process.execPath, ['scripts/native.mjs']),
  bundles: () => run(process.execPath, ['scripts/build.mjs']),
};

/** All stages. Exported for what begins with them. */
export async function setup({ dev = false } = {}) {
  for (const [name, body] of Object.entries(stages)) await stage(name, () => body(dev));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    const { values } = parseArgs({
      options: { dev: { type: 'boolean', default: false }, only: { type: 'string' } },
    });
    if (values.only !== undefined) {
      const body = stages[values.only];
      if (body === undefined) throw new ScriptError(`--only: one of ${Object.keys(stages).join(', ')}`);
      const note = body(values.dev);
      if (typeof note === 'string') console.log(`note: ${note}`);
      return;
    }
    await setup(values);
    printStages();
    console.log('\nReady. Next: npm run demo, or node dist/cli.js --help');
  });
}
