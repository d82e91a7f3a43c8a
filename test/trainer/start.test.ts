// Runs that start elsewhere than at round-to-nearest, with the real engine.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { runTrainer } from '../../src/trainer';
import {
  assertNothingHalfWritten,
  assertSameRun,
  copyOfModel,
  metricsOf,
  newRun,
  resultOf,
  sharedFolder,
  shortExperiment,
  statusOf,
  stepsOf,
  temporaryFolder,
} from './sample-run';

const folder = sharedFolder();
const gptq = { sequences: 24, damping: 0.01, activationOrder: false };
const weights = { bits: 2, range: 'lp-3', granularity: { group: 32 } };
const baseOf = (run: string): string => path.join(run, 'base', 'scales.safetensors');

test('method gptq: measured and merged like what others have trained', async () => {
  const run = await newRun(folder, shortExperiment({ quantization: { method: 'gptq', weights, gptq } }));
  assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
  const { float, roundToNearest, trained, merged } = (await resultOf(run)).perplexity;
  assert.ok(float! < trained! && trained! < roundToNearest!, JSON.stringify((await resultOf(run)).perplexity));
  assert.equal(merged, trained);
  assert.deepEqual(stepsOf(run), []);
  const evaluations = metricsOf(run).flatMap((event) => (event.type === 'eval' ? [event.form] : []));
  assert.deepEqual(evaluations, ['float', 'round-to-nearest', 'trained', 'merged']);
  assertNothingHalfWritten(run);
});

test('training from GPTQ and singular values: stopped while the start is looked for and after some steps, a run gives the same bits', async () => {
  const experiment = shortExperiment({
    quantization: { weights, lowRank: { rank: 4, alpha: 4 }, start: { integers: 'gptq', lowRank: 'svd' }, gptq },
  });
  const whole = await newRun(folder, experiment);
  assert.equal(await runTrainer(whole), 'finished', JSON.stringify((await statusOf(whole)).error));

  const run = await newRun(folder, experiment);
  const early = new AbortController();
  const stopped = await runTrainer(run, {
    signal: early.signal,
    // Both baselines are there: what comes next is the start.
    onEvent: (event) => {
      if (event.type === 'eval' && event.form === 'round-to-nearest') early.abort();
    },
  });
  assert.equal(stopped, 'stopped');
  assert.ok(!existsSync(baseOf(run)), 'a start that was not found is not stored');
  const late = new AbortController();
  const again = await runTrainer(run, {
    signal: late.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 5) late.abort();
    },
  });
  assert.equal(again, 'stopped');
  const stored = readFileSync(baseOf(run));
  assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
  assert.ok(stored.equals(readFileSync(baseOf(whole))), 'the start of both runs');
  await assertSameRun(run, whole);

  // The first sequences of training are those of the calibration: reading them takes none away.
  assert.deepEqual(stepsOf(whole), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
});

test('a start does not serve other weights', async (context) => {
  const own = temporaryFolder(context);
  const model = copyOfModel(own);
  const experiment = shortExperiment({
    model: { path: model },
    quantization: { method: 'peqa', weights, start: { integers: 'gptq' }, gptq },
  });
  const run = await newRun(own, experiment);
  const stop = new AbortController();
  await runTrainer(run, { signal: stop.signal, onEvent: (event) => event.type === 'step' && stop.abort() });
  assert.equal((await statusOf(run)).state, 'stopped');
  const file = path.join(model, 'model.safetensors');
  const bytes = readFileSync(file);
  // The last bytes of the first quantized weights are far from the header: change one weight in all tensors' beginnings.
  for (let at = bytes.length >> 1; at < (bytes.length >> 1) + 600_000 && at < bytes.length; at += 64) bytes[at]! ^= 1;
  writeFileSync(file, bytes);
  assert.equal(await runTrainer(run), 'failed');
  assert.match((await statusOf(run)).error?.code ?? '', /BaseChanged/);
});
