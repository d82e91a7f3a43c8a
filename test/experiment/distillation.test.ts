// What distillation costs before a run, and what a model does not allow.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  distillationOf,
  estimate,
  formatEstimate,
  guessedCalibration,
  planDisk,
  planRun,
  resolveLinears,
  type Machine,
} from '../../src/experiment';
import { shapeFindings } from '../../src/experiment/shape-rules';
import { experimentWith } from './make';
import { llama7B, tiny } from './shapes';

const machine: Machine = { totalMemory: 64 * 2 ** 30, cores: 4, nativeBf16: false };
const calibration = guessedCalibration({ isa: 'avx2', bf16: 'none', cores: 4, compute: 'float32' });

test('distillation is off by default, and nothing without training', () => {
  assert.equal(distillationOf(experimentWith()), null);
  assert.equal(distillationOf(experimentWith('training.distillation.weight=0.5', 'quantization.method=rtn')), null);
  assert.deepEqual(distillationOf(experimentWith('training.distillation.weight=0.5')), {
    weight: 0.5,
    topK: 64,
    temperature: 1,
  });
});

test('no more tokens are told apart than there are', () => {
  const sets = ['training.distillation.weight=0.5', 'training.distillation.topK=600', 'data.sequenceLength=64'];
  const messages = shapeFindings(experimentWith(...sets), tiny).map(({ message }) => message);
  assert.deepEqual(
    messages.filter((message) => message.includes('distillation')),
    ['training.distillation.topK: 600 is more than the 512 tokens of the vocabulary; use at most 512'],
  );
  const off = shapeFindings(experimentWith(...sets.slice(1)), tiny);
  assert.ok(!off.some(({ message }) => message.includes('distillation')));
});

test('memory, disk and time of distillation', () => {
  const experiment = experimentWith('training.distillation.weight=0.5', 'training.steps=10');
  const without = experimentWith('training.steps=10');
  const linears = resolveLinears(experiment, llama7B);
  const record = 1024 * (64 * 2 + 65 * 4) + 8;
  assert.equal(planDisk(experiment, llama7B, linears).teacher, 10 * 32 * record);
  assert.equal(planDisk(experiment, llama7B, linears, 100).teacher, 100 * record);
  assert.equal(planDisk(without, llama7B, linears).teacher, 0);
  const wide = { ...llama7B, vocabSize: 128_256 };
  assert.equal(planDisk(experiment, wide, linears).teacher, 10 * 32 * (record + 1024 * 64 * 2));
  const memory = (each: typeof experiment): number => planRun(each, llama7B, machine).memory.total;
  assert.equal(memory(experiment) - memory(without), 4096 * (64 + 65) * 4);
  const found = estimate({ experiment, shape: llama7B, machine, calibration });
  assert.ok(found.teacherSeconds > 0 && found.teacherSeconds < found.trainingSeconds);
  const gpu = estimate({ experiment, shape: llama7B, machine: { ...machine, device: 'cuda' }, calibration });
  assert.ok(gpu.teacherSeconds > found.teacherSeconds, 'a GPU fetches the float weights for each micro-batch');
  assert.match(formatEstimate(found), /float model +\S+ .* at most, once\n[^]*float model +121.3 MiB at most/);
});
