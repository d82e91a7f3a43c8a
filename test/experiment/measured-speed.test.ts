// What is tried of a run to know its speed, and the rates that follow.
import assert from 'node:assert/strict';
import test from 'node:test';
import { calibrationFromGemm, guessedCalibration, planRun, type Machine } from '../../src/experiment';
import { evaluationSecondsOf, secondsByRate, secondsOf } from '../../src/experiment/calibration';
import { evaluationCost, trainingStepCost, type StepCost } from '../../src/experiment/cost';
import {
  checkedCalibration,
  measuredCalibration,
  measuredStart,
  withEvaluation,
  withTeacher,
} from '../../src/experiment/measured-calibration';
import { layoutOf } from '../../src/experiment/planner';
import { speedSample } from '../../src/experiment/speed-sample';
import type { ModelShape } from '../../src/formats/model-shape';
import { experimentWith } from './make';
import { llama70B, llama7B, tiny } from './shapes';

const machine: Machine = { totalMemory: 24 * 2 ** 30, cores: 2, nativeBf16: true };
const guess = guessedCalibration({ isa: 'avx512', bf16: 'amx', cores: 2, compute: 'bf16' });

function costOf(shape: ModelShape, ...sets: string[]): StepCost {
  const experiment = experimentWith(...sets);
  return trainingStepCost(layoutOf(planRun(experiment, shape, machine).input), experiment.training.batchSize);
}

test('a small model is tried whole, in the lanes that it trains in', () => {
  const experiment = experimentWith('data.sequenceLength=256', 'training.microBatchSize=8', 'training.batchSize=32');
  const sample = speedSample(experiment, tiny, machine, guess);
  assert.deepEqual(sample?.shape, tiny);
  assert.equal(sample.plan.lanes, planRun(experiment, tiny, machine).lanes);
  assert.ok(sample.plan.lanes > 1);
  assert.equal(sample.microBatches, 4);
});

test('of a large model a few blocks are tried, with the settings of the whole', () => {
  const sets = ['data.sequenceLength=512', 'training.microBatchSize=1', 'training.activationCheckpointing=block'];
  const sample = speedSample(experimentWith(...sets), llama7B, machine, guess);
  assert.ok(sample !== null && sample.shape.layers < 8, String(sample?.shape.layers));
  assert.equal(sample.plan.activationCheckpointing, 'block');
  assert.ok(sample.plan.memory.total < machine.totalMemory / 4);
});

test('where one block is too much, nothing is tried', () => {
  const experiment = experimentWith('training.microBatchSize=8', 'data.sequenceLength=4096');
  assert.equal(speedSample(experiment, llama70B, machine, guess), null);
});

test('rates give back the time that was measured, part by part', () => {
  const cost = costOf(tiny);
  const operations = {
    gemm: 0.2,
    attention: 0.02,
    attentionBackward: 0.03,
    lowRankGradient: 0.1,
    rebuildWeight: 0.05,
    swiglu: 0.06,
    adamw: 0.04,
  };
  const rates = measuredCalibration({ cost, seconds: 1, operations }, guess);
  assert.equal(rates.measured, true);
  assert.ok(Math.abs(secondsOf(cost, rates) - 1) < 1e-9);
  // Half of the second was in no operation, and is spread over all.
  const parts = secondsByRate(cost, rates);
  assert.ok(Math.abs(parts.gemm - 0.4) < 1e-9);
  assert.ok(Math.abs(parts.attention - 0.1) < 1e-9);
  assert.ok(Math.abs(parts.rebuild + parts.rebuildBytes - 0.1) < 1e-9);
  assert.ok(Math.abs(parts.bytes - 0.2) < 1e-9);
});

test('what the work had nothing of follows its matrix products', () => {
  const cost = costOf(tiny, 'quantization.method=peqa');
  assert.equal(cost.flops.lowRankGradients, 0);
  const expected = secondsByRate(cost, guess).gemm;
  const rates = measuredCalibration({ cost, seconds: 2 * expected, operations: { gemm: 2 * expected } }, guess);
  assert.ok(Math.abs(rates.gemm / guess.gemm - 0.5) < 1e-9);
  assert.ok(Math.abs(rates.thin / guess.thin - 0.5) < 1e-9);
});

test('evaluations and the float model have times of their own', () => {
  const rates = calibrationFromGemm(1e12, 1e10);
  const cost = evaluationCost(layoutOf(planRun(experimentWith(), tiny, machine).input));
  const evaluated = withEvaluation(rates, cost, 3);
  assert.ok(Math.abs(evaluationSecondsOf(cost, evaluated) - 3) < 1e-9);
  assert.equal(secondsOf(cost, evaluated), secondsOf(cost, rates), 'training stays');
  const taught = withTeacher(evaluated, cost, 5);
  assert.ok(Math.abs(secondsOf(cost, rates) * taught.teacher - 5) < 1e-9);
  assert.equal(taught.evaluation, evaluated.evaluation);
});

test('the start: what the engine does by its operations, the rest by the clock', () => {
  const { start } = guess;
  assert.ok(start !== null);
  const cost = { inputs: 1e9, rounding: 2e9, singular: 0 };
  const rates = measuredStart({ cost, inside: 0.5, beside: 0.25 }, start);
  assert.ok(Math.abs(cost.inputs / rates.inputs - 0.5) < 1e-9);
  assert.ok(Math.abs(cost.rounding / rates.rounding - 0.25) < 1e-9);
  assert.ok(Math.abs(rates.singular / start.singular - rates.rounding / start.rounding) < 1e-9);
});

test('what another process says is checked', () => {
  assert.deepEqual(checkedCalibration(JSON.parse(JSON.stringify(guess))), guess);
  assert.deepEqual(checkedCalibration({ ...guess, start: null }), { ...guess, start: null });
  for (const wrong of [
    null,
    1,
    {},
    { ...guess, gemm: 0 },
    { ...guess, bytes: 'fast' },
    { ...guess, evaluation: NaN },
  ]) {
    assert.equal(checkedCalibration(wrong), null);
  }
  assert.equal(checkedCalibration({ ...guess, start: { ...guess.start, rounding: -1 } }), null);
  const { thin: _, ...without } = guess;
  assert.equal(checkedCalibration(without), null);
});
