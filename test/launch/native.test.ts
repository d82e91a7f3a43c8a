import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { version } from '../../package.json';
import { UserError } from '../../src/errors';
import { parseExperiment, type Experiment } from '../../src/experiment';
import { childEnvironment, doctor, findNative, loadAddon, measureSpeed, probeNative } from '../../src/launch';
import { nativeFacts, nodeFact } from '../../src/launch/doctor';

/** Stands for lrqat.node: Node loads JavaScript by the same call, so what the engine does while it is loaded can be played. */
function fakeAddon(context: TestContext, source: string, name = 'lrqat.js'): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-launch-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, name);
  writeFileSync(file, source);
  return file;
}

const GOOD = `exports.engineVersion = ${JSON.stringify(version)};
exports.Engine = class {};
exports.cpuInfo = (oneDnn) => ({ isa: 'test', bf16: 'none', logicalCores: 1, gemm: oneDnn && { library: oneDnn, version: '1' } });`;

const probe = (file: string, timeout?: number): ReturnType<typeof probeNative> =>
  probeNative({ environment: { ...process.env, LRQAT_NATIVE: file }, ...(timeout === undefined ? {} : { timeout }) });

test('LRQAT_NATIVE comes first, as a file or a folder, with the oneDNN glue beside it', (context) => {
  const addon = fakeAddon(context, GOOD, 'lrqat.node');
  const folder = path.dirname(addon);
  assert.deepEqual(findNative({ LRQAT_NATIVE: addon }), { addon, oneDnn: null, cuda: null });
  const names: Partial<Record<NodeJS.Platform, string>> = {
    darwin: 'liblrqat_onednn.dylib',
    win32: 'lrqat_onednn.dll',
  };
  const glue = path.join(folder, names[process.platform] ?? 'liblrqat_onednn.so');
  writeFileSync(glue, '');
  assert.deepEqual(findNative({ LRQAT_NATIVE: folder }), { addon, oneDnn: glue, cuda: null });
  assert.throws(
    () => findNative({ LRQAT_NATIVE: path.join(folder, 'none.node') }),
    (error) =>
      error instanceof UserError &&
      error.code === 'NativeMissing' &&
      /LRQAT_NATIVE is .*none\.node/.test(error.message),
  );
});

test('an addon of another version, or without an engine, is not handed out', (context) => {
  const refusal = (source: string): UserError => {
    try {
      loadAddon(fakeAddon(context, source));
    } catch (error) {
      if (error instanceof UserError) return error;
      throw error;
    }
    return assert.fail('was loaded');
  };
  assert.equal(typeof loadAddon(fakeAddon(context, GOOD)).Engine, 'function');
  const other = refusal("exports.engineVersion = '0.0.1';");
  assert.equal(other.code, 'NativeMismatch');
  assert.match(other.message, new RegExp(`is of version 0\\.0\\.1, this program is ${version.replaceAll('.', '\\.')}`));
  assert.match(other.hint ?? '', /npm run setup/);
  assert.equal(refusal('module.exports = null;').code, 'NativeMismatch');
  assert.match(refusal(`exports.engineVersion = ${JSON.stringify(version)};`).message, /lacks a part/);
  assert.equal(refusal("throw new Error('libgone.so.1: cannot open shared object file');").code, 'NativeUnloadable');
  assert.throws(() => loadAddon(fakeAddon(context, 'not an ELF file', 'lrqat.node')), { code: 'NativeUnloadable' });
});

test(
  'a probe tells what the child found, or why there is no engine',
  { skip: process.platform === 'win32' },
  async (context) => {
    const good = await probe(fakeAddon(context, `console.log('a library says hello');${GOOD}`));
    assert.ok(good.ok);
    assert.deepEqual(good.cpu, { isa: 'test', bf16: 'none', logicalCores: 1, gemm: null });
    const reasonOf = async (source: string, timeout?: number): Promise<string> => {
      const result = await probe(fakeAddon(context, source), timeout);
      assert.ok(!result.ok);
      assert.notEqual(result.hint, '');
      return result.reason;
    };
    assert.match(await reasonOf("throw new Error('libgone.so.1: cannot open');"), /Error: libgone\.so\.1: cannot open/);
    assert.match(
      await reasonOf("process.kill(process.pid, 'SIGILL'); for (;;);"),
      /instruction that this CPU does not have/,
    );
    assert.match(await reasonOf("process.kill(process.pid, 'SIGSEGV'); for (;;);"), /ended the process with SIGSEGV/);
    assert.match(await reasonOf('for (;;);', 300), /longer than 0\.3 s/);
    assert.match(await reasonOf("exports.engineVersion = '9'; exports.cpuInfo = () => null;"), /is of version 9/);
    assert.match(await reasonOf('exports.engineVersion = 9; exports.cpuInfo = () => null;'), /no version/);
    assert.match(await reasonOf('process.exit(0);'), /could not be read/);
    const missing = await probe('/nowhere/lrqat.node');
    assert.ok(!missing.ok && missing.files === null);
  },
);

test('children get neither the editor’s nor the debugger’s environment', () => {
  const inherited = {
    PATH: '/bin',
    VSCODE_PID: '1',
    vscode_ipc_hook: 'x',
    NODE_OPTIONS: '--require /evil.js',
    NODE_CHANNEL_FD: '3',
    ELECTRON_RUN_AS_NODE: '1',
    ELECTRON_NO_ATTACH_CONSOLE: '1',
    OMP_WAIT_POLICY: 'active',
    OMP_NUM_THREADS: '3',
  };
  const plain = { PATH: '/bin', OMP_NUM_THREADS: '3', OMP_WAIT_POLICY: 'passive' };
  assert.deepEqual(childEnvironment(inherited, false), plain);
  assert.deepEqual(childEnvironment(inherited, true), { ...plain, ELECTRON_RUN_AS_NODE: '1' });
});

test('doctor: each fact says what it is and, if it is bad, what to do', async (context) => {
  const facts = await doctor({ environment: { ...process.env, LRQAT_NATIVE: fakeAddon(context, GOOD) } });
  const byName = new Map(facts.map((fact) => [fact.name, fact]));
  assert.equal(byName.get('Node')?.ok, 'ok');
  assert.match(byName.get('Native engine')?.value ?? '', new RegExp(`^${version.replaceAll('.', '\\.')} `));
  assert.match(byName.get('CPU')?.value ?? '', /^test, no bf16.*1 logical cores$/);
  assert.equal(byName.get('Matrix products')?.ok, 'warning');
  assert.match(byName.get('Matrix products')?.hint ?? '', /libdnnl-dev/);
  assert.match(byName.get('Disk')?.value ?? '', /GiB free/);
  assert.match(byName.get('Memory')?.value ?? '', /GiB free of/);
  assert.match(byName.get('GPU')?.value ?? '', /none can be used|GiB free of/);
  const broken = await doctor({ environment: { LRQAT_NATIVE: '/nowhere' }, folder: '/nowhere' });
  assert.equal(broken.find((fact) => fact.name === 'Native engine')?.ok, 'error');
  assert.equal(broken.find((fact) => fact.name === 'Disk')?.ok, 'warning');
  for (const fact of [...facts, ...broken]) if (fact.ok === 'error') assert.notEqual(fact.hint, null);
});

test('facts about other machines', () => {
  assert.deepEqual(
    ['20.9.0', '18.20.1', '20.10.0', '22.0.0'].map((node) => nodeFact(node).ok),
    ['error', 'error', 'ok', 'ok'],
  );
  const cpu = { isa: 'avx2', bf16: 'none', logicalCores: 8, gemm: null } as const;
  const cuda = { library: null, info: null, problem: null, cublasLt: null, searched: [] };
  const facts = nativeFacts({
    ok: true,
    files: { addon: '/a', oneDnn: '/glue.so', cuda: null },
    engineVersion: '1',
    cpu,
    cuda,
  });
  assert.match(facts.at(-1)?.hint ?? '', /\/glue\.so cannot be opened/);
});

test(
  'the real build is found, probed and loaded',
  { skip: existsSync('build/Release/lrqat.node') ? false : 'the native build is not there' },
  async () => {
    const environment = { ...process.env };
    delete environment['LRQAT_NATIVE'];
    const files = findNative(environment);
    assert.equal(path.basename(files.addon), 'lrqat.node');
    const result = await probeNative({ environment });
    assert.ok(result.ok, JSON.stringify(result));
    assert.ok(result.cpu.logicalCores >= 1);
    assert.equal(loadAddon(files.addon).engineVersion, version);
  },
);

const sampleFolder = path.resolve('samples/first-run');

function sampleExperiment(compute: 'float32' | 'bf16'): Experiment {
  const file = path.join(sampleFolder, 'w2-rank32.lrqat.json');
  const { experiment } = parseExperiment(readFileSync(file, 'utf8'), file);
  assert.ok(experiment !== undefined);
  return { ...experiment, compute, model: { ...experiment.model, path: path.join(sampleFolder, 'model') } };
}

test('the speed of this machine is measured by the real engine, for both number types', async () => {
  for (const compute of ['float32', 'bf16'] as const) {
    const measured = await measureSpeed(sampleExperiment(compute));
    assert.ok(measured.ok, measured.ok ? '' : measured.reason);
    assert.equal(measured.rates.measured, true);
  }
});

test('a measurement that fails says why', async () => {
  const missing = { ...sampleExperiment('float32'), model: { path: path.join(sampleFolder, 'nowhere') } };
  const measured = await measureSpeed(missing);
  assert.ok(!measured.ok);
  assert.match(measured.reason, /nowhere/);
});
