import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GpuUsage } from '../../native/binding/addon';
import { gpuFacts } from '../../src/cli/gpu-facts';
import { gpuMeter } from '../../src/trainer/gpu-meter';
import { openAddon } from '../goldens/engine-runs';

const usage: GpuUsage = { utilization: 0.974, watts: 612.3, celsius: 61, memoryUsed: 2 ** 33, memoryTotal: 2 ** 37 };
const cuda = { type: 'cuda', index: 0, uuid: 'GPU-1', library: 'x.so', cublasLt: 'y.so' } as const;

test('a GPU is asked at most once a second, and by its own name', () => {
  let time = 0;
  const asked: string[] = [];
  const gpuUsage = (uuid: string): GpuUsage => {
    asked.push(uuid);
    return usage;
  };
  const read = gpuMeter({ gpuUsage }, cuda, () => time);
  assert.deepEqual(read(), { utilization: 0.974, watts: 612.3, celsius: 61, memoryUsed: 2 ** 33 });
  time = 999;
  assert.equal(read(), undefined);
  time = 1000;
  assert.notEqual(read(), undefined);
  assert.deepEqual(asked, ['GPU-1', 'GPU-1']);
});

test('what tells nothing is not asked again, the CPU never', () => {
  let asked = 0;
  const gpuUsage = (): null => {
    asked++;
    return null;
  };
  let time = 0;
  const read = gpuMeter({ gpuUsage }, cuda, () => time);
  assert.equal(read(), undefined);
  time = 1e6;
  assert.equal(read(), undefined);
  assert.equal(asked, 1);
  assert.equal(gpuMeter({ gpuUsage }, { type: 'cpu' }, () => time)(), undefined);
  assert.equal(asked, 1);
});

test('the addon is silent about a GPU that is not there', () => {
  assert.equal(openAddon().gpuUsage('GPU-00000000-0000-0000-0000-000000000000'), null);
});

test('the reading is shown, without what the GPU does not report', () => {
  assert.deepEqual(gpuFacts(usage), [['GPU', '97 % busy, 8.00 GiB taken, 612 W, 61 °C']]);
  assert.deepEqual(gpuFacts({ utilization: null, watts: 20, celsius: null, memoryUsed: null }), [['GPU', '20 W']]);
  assert.deepEqual(gpuFacts({ utilization: null, watts: null, celsius: null, memoryUsed: null }), []);
  assert.deepEqual(gpuFacts(null), []);
});
