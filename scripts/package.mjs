// Makes the VSIX: `npm run package` → dist-free of sources and maps, with the native engine and every library it needs that a
// bare Linux lacks.
//   --out FILE    where to write (default: build/lr-qat-studio-<target>-<version>.vsix)
//   --cuda FILE   adds the CUDA library (lrqat_cuda) beside the engine
//   --list        prints the files of the package and makes none
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { main, root, run, ScriptError, versionOf } from './lib.mjs';

export const stageFolder = path.join(root, 'build', 'package');
const nativeFolder = path.join(stageFolder, 'dist', 'native');
const buildFolder = path.join(root, 'build', 'Release');
export const target = `${process.platform}-${process.arch}`;

/** Files of the repository that go into the package as they are. */
const plain = [
  'package.nls.json',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'media/experiment.schema.json',
  'media/experiment.completion.schema.json',
  'media/language-configuration.json',
  'media/lrqat-experiment.tmLanguage.json',
  'media/icons',
  'media/l10n',
  'media/walkthrough',
  'dist/extension.js',
  'dist/world-worker.js',
  'dist/trainer.js',
  'dist/tokenize-worker.js',
  'dist/cli.js',
  'dist/webview',
  'dist/THIRD-PARTY-NOTICES.txt',
  'samples/first-run',
];

/** Libraries that the engine needs and a system may lack, with the Debian package whose licence comes along. Our own have the C++
 *  runtime inside; oneDNN takes the system's, which VS Code's server needs as well. */
const libraries = [
  { name: 'libdnnl.so.2', package: 'libdnnl2' },
  { name: 'libOpenCL.so.1', package: 'ocl-icd-libopencl1' },
  { name: 'libgomp.so.1', package: 'libgomp1' },
];

const capture = (command, args) => {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (result.error || result.status !== 0) {
    throw new ScriptError(`${command} ${args.join(' ')} failed: ${result.error?.message ?? result.stderr}`);
  }
  return result.stdout;
};

/** File of a shared library, as the loader of this system finds it for `user`. */
function locate(name, user) {
  const line = capture('ldd', [user])
    .split('\n')
    .find((text) => text.trim().startsWith(`${name} => `));
  const file = line?.split(' => ')[1]?.split(' (')[0];
  return file === undefined || !existsSync(file) ? null : realpathSync(file);
}

/** Newest glibc symbol version of some libraries: the oldest system they load on. */
export function glibcOf(files) {
  const versions = files.flatMap((file) => [...capture('objdump', ['-T', file]).matchAll(/GLIBC_(\d+)\.(\d+)/g)]);
  const newest = versions
    .map(([, major, minor]) => [Number(major), Number(minor)])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1])
    .at(-1);
  return newest === undefined ? null : newest.join('.');
}

function stageNative(cuda) {
  const addon = path.join(buildFolder, 'lrqat.node');
  if (!existsSync(addon)) throw new ScriptError('build/Release/lrqat.node is missing: run `npm run setup` first');
  mkdirSync(path.join(nativeFolder, 'licenses'), { recursive: true });
  const files = ['lrqat.node', 'liblrqat_onednn.so'].filter((name) => existsSync(path.join(buildFolder, name)));
  for (const name of files) cpSync(path.join(buildFolder, name), path.join(nativeFolder, name));
  if (cuda !== undefined) {
    if (!existsSync(cuda)) throw new ScriptError(`--cuda ${cuda}: no such file`);
    const name = path.basename(cuda);
    cpSync(cuda, path.join(nativeFolder, name));
    files.push(name);
  }
  if (process.platform === 'linux') {
    requireOwnRuntime(files);
    files.push(...stageLibraries(path.join(buildFolder, files.at(1) ?? 'lrqat.node'), [...files]));
  }
  // Readers of the package (and the extension itself) can tell what it is for.
  const glibc = process.platform === 'linux' ? glibcOf(files.map((name) => path.join(nativeFolder, name))) : null;
  writeFileSync(path.join(nativeFolder, 'package.json'), `${JSON.stringify({ target, glibc, files }, null, 2)}\n`);
  return glibc;
}

/** Our own libraries load where the system's C++ runtime is older than that of the compiler, or missing. */
function requireOwnRuntime(files) {
  for (const name of files) {
    const needed = [...capture('objdump', ['-p', path.join(nativeFolder, name)]).matchAll(/NEEDED +(\S+)/g)];
    const runtime = needed.map(([, library]) => library).filter((library) => /^lib(stdc\+\+|gcc_s)\./.test(library));
    if (runtime.length > 0) {
      throw new ScriptError(
        `${name} takes ${runtime.join(' and ')} from the system: build it again as CMakeLists.txt says`,
      );
    }
  }
}

function stageLibraries(user, own) {
  if (versionOf('patchelf') === null) {
    throw new ScriptError('patchelf is missing: sudo apt-get install patchelf, or the package manager of this system');
  }
  const staged = [];
  for (const { name, package: debian } of libraries) {
    const file = locate(name, user);
    if (file === null) {
      console.log(`${name}: not needed by this build`);
      continue;
    }
    const copy = path.join(nativeFolder, name);
    cpSync(file, copy);
    chmodSync(copy, 0o644);
    const licence = path.join('/usr/share/doc', debian, 'copyright');
    if (!existsSync(licence))
      throw new ScriptError(`${licence} is missing: ${name} cannot be shipped without its licence`);
    cpSync(realpathSync(licence), path.join(nativeFolder, 'licenses', `${debian}.txt`));
    staged.push(name);
  }
  for (const name of [...staged, ...own]) {
    const file = path.join(nativeFolder, name);
    if (existsSync(file)) run('patchelf', ['--set-rpath', '$ORIGIN', file]);
  }
  return staged;
}

/** What the marketplace and VS Code read, without what only a clone needs. */
function stageManifest() {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  for (const key of ['private', 'scripts', 'devDependencies', 'dependencies', 'binary', 'bin']) delete manifest[key];
  writeFileSync(
    path.join(stageFolder, 'package.json'),
    `${JSON.stringify({ ...manifest, engines: { vscode: manifest.engines.vscode } }, null, 2)}\n`,
  );
}

/** Pictures that a page shows: the extension's page in VS Code is README.md, and its pictures come along. */
function picturesOf(page) {
  const text = readFileSync(path.join(root, page), 'utf8');
  return [...text.matchAll(/!\[[^\]]*\]\(([^):]+)\)/g)].map(([, file]) => file);
}

export function stagePackage(cuda) {
  rmSync(stageFolder, { recursive: true, force: true });
  for (const name of [...plain, ...picturesOf('README.md')]) {
    const from = path.join(root, name);
    if (!existsSync(from)) throw new ScriptError(`${name} is missing: run \`npm run setup\` first`);
    const filter = (file) => !file.endsWith('.map') && path.basename(file) !== '.lrqat';
    cpSync(from, path.join(stageFolder, name), { recursive: true, filter });
  }
  // Everything staged is meant: without this file vsce would apply the repository's .gitignore rules to no effect.
  writeFileSync(path.join(stageFolder, '.vscodeignore'), '.vscodeignore\n');
  stageManifest();
  return stageNative(cuda);
}

const vsce = path.join(root, 'node_modules', '@vscode', 'vsce', 'vsce');
const options = ['--no-dependencies'];

/** Paths in the package, as vsce would pack them. */
export function packageList() {
  const result = spawnSync(process.execPath, [vsce, 'ls', ...options], { cwd: stageFolder, encoding: 'utf8' });
  if (result.status !== 0) throw new ScriptError(`vsce ls failed: ${result.stderr}`);
  return result.stdout.split('\n').filter((line) => line !== '');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(() => {
    const { values } = parseArgs({
      options: { out: { type: 'string' }, cuda: { type: 'string' }, list: { type: 'boolean', default: false } },
    });
    const glibc = stagePackage(values.cuda);
    if (values.list) {
      console.log(packageList().join('\n'));
      return;
    }
    const { name, version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
    const out = path.resolve(values.out ?? path.join(root, 'build', `${name}-${target}-${version}.vsix`));
    run(
      process.execPath,
      [
        vsce,
        'package',
        ...options,
        '--target',
        target,
        '--out',
        out,
        '--skip-license',
        '--allow-missing-repository',
        '--no-rewrite-relative-links',
      ],
      { cwd: stageFolder, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    console.log(
      `${path.relative(process.cwd(), out)}: ${(statSync(out).size / 2 ** 20).toFixed(1)} MiB for ${target}${glibc === null ? '' : `, glibc ${glibc} or newer`}`,
    );
  });
}
