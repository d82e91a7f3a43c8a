// Which GPU `device` means, and where cuBLASLt is looked for.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import type { CudaDevice } from '../../native/binding/addon';
import { type UserError } from '../../src/errors';
import { findCublasLt } from '../../src/launch/cublaslt';
import { chooseGpu, obstacle, type CudaProbe } from '../../src/launch/gpu';
import { deviceFromQueue, queueDevices } from '../../src/launch/queue-device';
import type { NativeProbe } from '../../src/launch/probe-native';

const GiB = 2 ** 30;

function device(index: number, changes: Partial<CudaDevice> = {}): CudaDevice {
  const capability = { computeCapability: '9.0', multiprocessors: 132, totalBytes: 80 * GiB, freeBytes: 70 * GiB };
  return { index, name: `GPU ${String(index)}`, uuid: `GPU-${String(index)}`, ...capability, ...changes };
}

function probe(changes: Partial<CudaProbe> = {}, ...devices: CudaDevice[]): CudaProbe {
  return {
    library: '/lib/liblrqat_cuda.so',
    info: { runtime: '13.0', driver: '13.0', devices },
    problem: null,
    cublasLt: '/lib/libcublasLt.so.13',
    searched: ['/lib'],
    ...changes,
  };
}

test('runs in a queue may wait for every GPU that their device means, and compute on the one they were given', async () => {
  const two = probe({}, device(0, { freeBytes: 10 * GiB }), device(1), device(2, { computeCapability: '7.5' }));
  const asked = (cuda: CudaProbe) => (): Promise<NativeProbe> =>
    Promise.resolve({ ok: true, cuda } as unknown as NativeProbe);
  assert.deepEqual(await queueDevices('auto', asked(two)), ['cuda:1', 'cuda:0']);
  assert.deepEqual(await queueDevices('cuda', asked(two)), ['cuda:1', 'cuda:0']);
  assert.deepEqual(await queueDevices('cuda:0', asked(two)), ['cuda:0']);
  assert.deepEqual(await queueDevices('auto', asked(probe())), ['cpu']);
  assert.deepEqual(await queueDevices('cpu', () => Promise.reject(new Error('not asked'))), ['cpu']);
  await assert.rejects(queueDevices('cuda:7', asked(two)), { code: 'DeviceUnavailable' });

  assert.equal(deviceFromQueue('auto', 'cuda:0', two), 'cuda:0');
  assert.equal(deviceFromQueue('auto', 'cpu', two), 'cpu');
  assert.equal(deviceFromQueue('auto', null, two), 'auto', 'started by hand');
  assert.equal(deviceFromQueue('auto', 'cuda:7', two), 'auto', 'a GPU that has gone');
  assert.equal(deviceFromQueue('cuda:1', 'cuda:0', two), 'cuda:1', 'what the experiment names');
});

test('auto takes the usable GPU with the most free memory, else the CPU', () => {
  const busy = device(0, { freeBytes: 10 * GiB });
  const old = device(2, { computeCapability: '7.5' });
  assert.equal(chooseGpu('auto', probe({}, busy, device(1), old))?.device.index, 1);
  assert.equal(chooseGpu('cuda', probe({}, busy, device(1), old))?.device.index, 1);
  assert.equal(chooseGpu('cuda:0', probe({}, busy, device(1)))?.device.index, 0);
  assert.equal(chooseGpu('auto', probe({}, old)), null);
  assert.equal(chooseGpu('auto', probe()), null);
  assert.equal(chooseGpu('auto', probe({ library: null }, device(0))), null);
  assert.equal(chooseGpu('auto', probe({ cublasLt: null }, device(0))), null);
  assert.equal(chooseGpu('cpu', probe({}, device(0))), null);
});

test('a GPU that was asked for and cannot be used is refused with what was looked for', () => {
  const refusals: readonly [wanted: string, found: CudaProbe, message: RegExp, hint: RegExp][] = [
    ['cuda', probe({ library: null, info: null }), /backend is not built/, /npm run setup/],
    ['cuda', probe({ info: null, problem: 'driver too old' }), /driver too old/, /nvidia-smi/],
    ['cuda', probe({ info: null, problem: 'has interface 9', hint: 'build again' }), /interface 9/, /^build again$/],
    ['cuda:0', probe(), /no NVIDIA GPU/, /"cpu"/],
    ['cuda:4', probe({}, device(0), device(1)), /only GPUs 0 to 1/, /"cuda:1" \(GPU 1\)/],
    ['cuda:1', probe({}, device(0)), /only GPU 0$/, /"cuda:0"/],
    ['cuda', probe({}, device(0, { computeCapability: '7.5' })), /7\.5.*8\.0/, /"cpu"/],
    ['cuda:0', probe({ cublasLt: null }, device(0)), /searched: \/lib/, /LRQAT_CUBLASLT/],
  ];
  for (const [wanted, found, message, hint] of refusals) {
    assert.throws(
      () => chooseGpu(wanted, found),
      (error: UserError) => {
        assert.equal(error.code, 'DeviceUnavailable');
        assert.match(error.message, message);
        assert.match(error.message, new RegExp(`"${wanted}"`));
        assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  }
  assert.equal(obstacle(probe({}, device(0))), null);
});

test('cuBLASLt is found in a toolkit or an active Python environment, newest first', (context) => {
  const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'lrqat-cublas-')));
  context.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const place = (...parts: string[]): string => {
    const file = path.join(folder, ...parts);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, '');
    return file;
  };
  const old = place('toolkit', 'lib64', 'libcublasLt.so.12');
  const fresh = place('venv', 'lib', 'python3.12', 'site-packages', 'nvidia', 'cu13', 'lib', 'libcublasLt.so.13');
  const elsewhere = path.join(folder, 'workspace');
  mkdirSync(elsewhere);
  const environment = { CUDA_HOME: path.join(folder, 'toolkit'), VIRTUAL_ENV: path.join(folder, 'venv') };
  assert.equal(findCublasLt({ environment, workspace: elsewhere }).file, fresh);
  // Nothing is loaded from the folder that is worked in.
  assert.equal(findCublasLt({ environment, workspace: path.join(folder, 'venv') }).file, old);
  assert.notEqual(findCublasLt({ environment, workspace: folder }).file, old);
  const named = findCublasLt({ environment: { ...environment, LRQAT_CUBLASLT: old }, workspace: elsewhere });
  assert.equal(named.file, old);
  const wrong = findCublasLt({ environment: { LRQAT_CUBLASLT: '/nowhere/lib.so' }, workspace: elsewhere });
  assert.deepEqual(wrong, { file: null, searched: ['LRQAT_CUBLASLT=/nowhere/lib.so'] });
});
