// Runs of every kind that are stopped halfway and resumed: all that training changes comes back, and the run ends with the
// bits of one that was never stopped.

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { Experiment } from '../../src/experiment';
import { readHeader } from '../../src/formats';
import { SafetensorsFile } from '../../src/formats/safetensors-file';
import { runPaths } from '../../src/runs';
import { runTrainer } from '../../src/trainer';
import { evaluateModel } from '../../src/trainer/evaluate';
import {
  assertSameRun,
  atStep,
  layersOf,
  metricsOf,
  newRun,
  resultOf,
  sharedFolder,
  shortExperiment,
  statusOf,
} from './sample-run';

const folder = sharedFolder();

/** The beginning of the sample's text: evaluations of a run on it show what those of all of it would. */
const beginning = path.join(folder, 'beginning.txt');
writeFileSync(beginning, readFileSync('samples/first-run/validation.txt', 'utf8').slice(0, 20_000));

/** A run that was stopped after its second step and resumed, compared with one that was not. */
async function stoppedHalfway(experiment: Experiment): Promise<string> {
  const whole = await newRun(folder, experiment);
  assert.equal(await runTrainer(whole), 'finished', JSON.stringify((await statusOf(whole)).error));
  const run = await newRun(folder, experiment);
  const stop = new AbortController();
  assert.equal(await runTrainer(run, { signal: stop.signal, onEvent: atStep(2, () => stop.abort()) }), 'stopped');
  assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
  await assertSameRun(run, whole);
  return run;
}

test('a run that trains in lanes goes on in as many', async () => {
  const experiment = shortExperiment({
    data: { sequenceLength: 256 },
    training: { steps: 3, batchSize: 8, microBatchSize: 8 },
    evaluation: { everySteps: 3, maxBatches: 1, kinds: ['validation'] },
  });
  const run = await stoppedHalfway(experiment);
  const { lanes } = JSON.parse(readFileSync(path.join(run, 'choices.json'), 'utf8')) as { lanes?: unknown };
  assert.equal(lanes, 4);
});

test('zero points, their moments and the base they belong to come back', async () => {
  const experiment = shortExperiment({
    // Floats outside of the grid move zero points from the first step on.
    quantization: { storage: 'bf16', weights: { bits: 2, range: 'lp-3', symmetric: false }, lowRank: { rank: 4 } },
    training: { steps: 4, batchSize: 2, microBatchSize: 2, learningRate: { zeroPoints: 0.4 }, warmupRatio: 0 },
    evaluation: { everySteps: 2, maxBatches: 1, kinds: ['validation'] },
  });
  const run = await stoppedHalfway(experiment);
  const drifts = layersOf(run).flatMap((event) => (event.type === 'layer' ? [event.zeroPointDrift ?? 0] : []));
  assert.ok(Math.max(...drifts) > 0, 'zero points have moved');
  const steps = metricsOf(run).flatMap((event) => (event.type === 'step' ? [event.learningRate] : []));
  assert.equal(steps[0]!.zeroPoints, 0.4);
  const header = await readHeader(path.join(run, 'merged.safetensors'));
  const zeroPoints = header.tensors.get('model.layers.0.mlp.down_proj.zeroPoints');
  assert.deepEqual([zeroPoints?.dtype, zeroPoints?.shape], ['U8', [192]]);
  const { bitsPerWeight } = await resultOf(run);
  assert.ok(bitsPerWeight > 2 + 40 / 512 && bitsPerWeight < 2 + 40 / 192);
  const base = await readHeader(path.join(run, 'base', 'scales.safetensors'));
  assert.ok(base.tensors.has('model.layers.0.mlp.down_proj.zeroPoints'));
});

test('quantized activations: the same bits, in every form but the float one, known to evaluations', async () => {
  const settings = (activations: 'a8-kv4' | null) =>
    shortExperiment({
      quantization: { activations, lowRank: { rank: 4 } },
      training: { steps: 4, batchSize: 2, microBatchSize: 1, activationCheckpointing: 'block' },
      evaluation: { everySteps: 2, maxBatches: 40, kinds: ['validation'] },
    });
  const experiment = settings('a8-kv4');
  const run = await stoppedHalfway(experiment);
  const { perplexity } = await resultOf(run);
  assert.equal(perplexity.merged, perplexity.trained);

  const plain = await newRun(folder, settings(null));
  assert.equal(await runTrainer(plain), 'finished', JSON.stringify((await statusOf(plain)).error));
  const without = (await resultOf(plain)).perplexity;
  assert.equal(without.float, perplexity.float);
  assert.ok(perplexity.roundToNearest! > without.roundToNearest!);

  const { forms } = await evaluateModel({ run, data: [beginning] });
  const measured = (form: string): number => forms.find((each) => each.form === form)?.perplexity ?? NaN;
  assert.equal(measured('merged'), measured('trained'));
  // Of more of the text than its first 40 blocks.
  for (const [form, value] of [
    ['trained', perplexity.trained],
    ['round-to-nearest', perplexity.roundToNearest],
  ] as const) {
    assert.ok(Math.abs(measured(form) / value! - 1) < 0.1, `${form}: ${String(measured(form))}, ${String(value)}`);
  }
});

test('static ranges: calibrated once, learned from there, the same bits after a stop and without checkpoints', async () => {
  const experiment = shortExperiment({
    quantization: {
      activations: { bits: 6, range: 'static', sequences: 5, learn: true, learningRate: 1e-2 },
      lowRank: { rank: 4 },
    },
    training: { steps: 4, batchSize: 2, microBatchSize: 1, activationCheckpointing: 'block', warmupRatio: 0 },
    evaluation: { everySteps: 2, maxBatches: 40, kinds: ['validation'] },
  });
  const run = await stoppedHalfway(experiment);
  const { perplexity } = await resultOf(run);
  assert.equal(perplexity.merged, perplexity.trained);
  assert.ok(perplexity.roundToNearest! > perplexity.float!);
  const log = readFileSync(runPaths(run).log, 'utf8');
  assert.equal(log.match(/ranges of activations from 5 sequences/g)?.length, 1, log);

  const tensors = async (name: string): Promise<SafetensorsFile> => SafetensorsFile.open(path.join(run, name));
  const base = await tensors('base/activations.safetensors');
  const ranges = await base.readTensorAs('ranges', 'F32');
  await base.close();
  const merged = await tensors('merged.safetensors');
  assert.deepEqual(await merged.readTensorAs('activations.ranges', 'F32'), ranges);
  const scales = await merged.readTensorAs('activations.scale', 'F32');
  await merged.close();
  assert.equal(scales.length * 2, ranges.length);
  const moved = scales.filter((scale, i) => scale !== Math.fround((ranges[2 * i + 1]! - ranges[2 * i]!) / 63));
  assert.ok(moved.length > scales.length / 2, 'learned scales are not those of the calibration');

  const measure = async () => (await evaluateModel({ run, data: [beginning], forms: ['merged'] })).forms[0]?.perplexity;
  const before = await measure();
  rmSync(path.join(run, 'checkpoints'), { recursive: true });
  assert.equal(await measure(), before, 'merged.safetensors has the grids as well');
});

test('trained weights, norms and embeddings, their scales, zero points and moments come back', async () => {
  const experiment = shortExperiment({
    quantization: { method: 'lsq', weights: { bits: 3, granularity: { group: 32 }, symmetric: false } },
    training: {
      steps: 4,
      batchSize: 2,
      microBatchSize: 1,
      learningRate: { weights: 1e-3, norms: 2e-3, embeddings: 3e-4 },
      warmupRatio: 0,
    },
    evaluation: { everySteps: 2, maxBatches: 1, kinds: ['validation'] },
  });
  const run = await stoppedHalfway(experiment);
  const steps = metricsOf(run).flatMap((event) => (event.type === 'step' ? [event.learningRate] : []));
  assert.equal(steps[0]!.weights, 1e-3);
  assert.deepEqual([steps[0]!.norms, steps[0]!.embeddings, steps[0]!.head], [2e-3, 3e-4, undefined]);
  const last = layersOf(run).filter((event) => event.type === 'layer' && event.step === 4);
  assert.ok(last.length > 0 && last.every((event) => event.type === 'layer' && event.flipped > 0), 'integers changed');
  const header = await readHeader(path.join(run, 'checkpoints', 'step-00000004', 'adapter.safetensors'));
  const weight = header.tensors.get('model.layers.0.mlp.down_proj.weight');
  assert.deepEqual([weight?.dtype, weight?.shape], ['F32', [192, 512]]);
  assert.deepEqual(header.tensors.get('model.norm.weight')?.shape, [192]);
  const { perplexity } = await resultOf(run);
  assert.equal(perplexity.merged, perplexity.trained);
  assert.notEqual(perplexity.trained, perplexity.roundToNearest);
  // Merged, norms and embeddings are there as they were trained; float and round-to-nearest have those of the model.
  const { forms } = await evaluateModel({ run, data: [beginning] });
  const measured = (form: string): number => forms.find((each) => each.form === form)?.perplexity ?? NaN;
  assert.equal(measured('merged'), measured('trained'));
  const model = await evaluateModel({
    model: path.join('samples/first-run', 'model'),
    data: [beginning],
    compute: 'float32',
    threads: 2,
    device: 'cpu',
    sequenceLength: 32,
  });
  assert.equal(measured('float'), model.forms[0]!.perplexity);
});

test("in the machine's own number type, with groups and block checkpointing", async () => {
  const experiment = shortExperiment({
    compute: 'auto',
    threads: 'auto',
    quantization: { weights: { bits: 3, granularity: { group: 64 } }, storage: 'bf16' },
    training: { steps: 4, batchSize: 2, microBatchSize: 1, warmupRatio: 0, activationCheckpointing: 'block' },
  });
  await stoppedHalfway(experiment);
});
