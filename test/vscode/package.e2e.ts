// The package itself: what is in it, and that its engine trains where the system's own copies of its libraries cannot be seen.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';

const vsix = process.env['LRQAT_VSIX'] ?? '';
const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const unpacked = spawnSync('python3', ['-m', 'zipfile', '-e', vsix, folder], { encoding: 'utf8' });
const extension = path.join(folder, 'extension');
const native = path.join(extension, 'dist', 'native');

interface NativeManifest {
  readonly target: string;
  readonly glibc: string;
  readonly files: readonly string[];
}

void test('holds what it needs and no sources, maps, tests or secrets', () => {
  assert.equal(unpacked.status, 0, unpacked.stderr);
  const files = readdirSync(extension, { recursive: true, encoding: 'utf8' }).filter((file) =>
    statSync(path.join(extension, file)).isFile(),
  );
  for (const file of files)
    assert.doesNotMatch(file, /\.(ts|map|cpp|cu|h|o|vsix|env)$|node_modules|(^|\/)\.(git|lrqat)/);
  for (const needed of [
    'package.json',
    'dist/extension.js',
    'dist/trainer.js',
    'dist/world-worker.js',
    'dist/webview/charts.js',
    'dist/webview/charts.css',
    'dist/THIRD-PARTY-NOTICES.txt',
    'media/experiment.schema.json',
    ...['sample', 'form', 'start', 'charts', 'compare', 'export'].map((step) => `media/walkthrough/${step}.svg`),
    'samples/first-run/w2-rank32.lrqat.json',
    'dist/native/lrqat.node',
  ]) {
    assert.ok(files.includes(needed), needed);
  }
  assert.ok(statSync(vsix).size <= 30 * 2 ** 20, 'at most 30 MiB');
});

void test('the extension host gets at most 400 KB, without native or chart code', () => {
  const code = readFileSync(path.join(extension, 'dist', 'extension.js'), 'utf8');
  assert.ok(code.length <= 400_000, `${String(code.length)} bytes`);
  for (const foreign of ['CategoryScale', 'getContext("2d")', 'process.dlopen'])
    assert.ok(!code.includes(foreign), foreign);
});

void test('every library finds its neighbours, has a licence, and loads on the stated glibc', () => {
  const { target, glibc, files } = JSON.parse(
    readFileSync(path.join(native, 'package.json'), 'utf8'),
  ) as NativeManifest;
  assert.equal(target, `${process.platform}-${process.arch}`);
  assert.ok(files.includes('libdnnl.so.2') && files.includes('libgomp.so.1') && files.includes('libOpenCL.so.1'));
  assert.deepEqual(readdirSync(path.join(native, 'licenses')).sort(), [
    'libdnnl2.txt',
    'libgomp1.txt',
    'ocl-icd-libopencl1.txt',
  ]);
  const newer = (version: string): boolean => version.localeCompare(glibc, undefined, { numeric: true }) > 0;
  for (const file of files) {
    const dynamic = spawnSync('readelf', ['-d', path.join(native, file)], { encoding: 'utf8' }).stdout;
    assert.match(dynamic, /R(UN)?PATH.*\[\$ORIGIN\]/, `${file}: RPATH`);
    if (file.includes('lrqat'))
      assert.doesNotMatch(dynamic, /libstdc\+\+|libgcc_s/, `${file}: the C++ runtime is inside`);
    const symbols = spawnSync('objdump', ['-T', path.join(native, file)], { encoding: 'utf8' }).stdout;
    for (const [, version = ''] of symbols.matchAll(/GLIBC_([\d.]+)/g))
      assert.ok(!newer(version), `${file}: ${version}`);
  }
});

/** Where Debian keeps its own copies. */
const HIDDEN = ['libdnnl.so.2', 'libOpenCL.so.1', 'libgomp.so.1'];

void test('trains with the system’s own copies of its libraries hidden', { timeout: 120_000 }, (context) => {
  const workspace = path.join(folder, 'workspace');
  cpSync(path.join(extension, 'samples', 'first-run'), workspace, { recursive: true });
  mkdirSync(path.join(workspace, '.lrqat'));
  const train = [
    ...[process.execPath, path.join(extension, 'dist', 'cli.js'), 'train', 'w2-rank32.lrqat.json', '--foreground'],
    ...['--set', 'training.steps=2', '--set', 'evaluation.maxBatches=1', '--set', 'data.sequenceLength=32'],
  ];
  // In a mount namespace of its own an empty file lies over each copy: loading one would fail.
  const empty = path.join(folder, 'empty');
  const hide = HIDDEN.map(
    (name) => `for f in /usr/lib/*/${name}*; do [ -e "$f" ] && mount --bind '${empty}' "$f"; done`,
  );
  const script = [`: > '${empty}'`, ...hide, 'exec "$@"'].join('\n');
  const probe = spawnSync('unshare', ['--mount', 'true'], { encoding: 'utf8' });
  if (probe.error !== undefined || probe.status !== 0) {
    context.skip('needs the right to make a mount namespace (root)');
    return;
  }
  const isolated = ['--mount', 'sh', '-c', script, 'sh', ...train];
  const environment = { ...process.env, LRQAT_NATIVE: '' };
  const result = spawnSync('unshare', isolated, { cwd: workspace, encoding: 'utf8', env: environment });
  assert.equal(result.status, 0, result.stdout + result.stderr);
  const [run = ''] = readdirSync(path.join(workspace, '.lrqat', 'runs'));
  const provenance = readFileSync(path.join(workspace, '.lrqat', 'runs', run, 'provenance.json'), 'utf8');
  assert.match(provenance, /oneDNN/i, 'matrix products are oneDNN’s: the copy in the package');
});
