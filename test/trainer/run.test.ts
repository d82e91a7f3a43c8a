// Whole runs with the real engine: what they write, and that stopping, pausing and resuming change nothing.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readHeader } from '../../src/formats';
import { readOwner, sendControl, type MetricsEvent } from '../../src/runs';
import { runTrainer } from '../../src/trainer';
import {
  assertNothingHalfWritten,
  assertSameRun,
  atStep,
  checkpointsOf,
  layersOf,
  metricsOf,
  newRun,
  resultOf,
  shortExperiment,
  statusOf,
  stepsOf,
  sharedFolder,
  until,
} from './sample-run';

const folder = sharedFolder();
let reference: string;

before(async () => {
  reference = await newRun(folder, shortExperiment());
  assert.equal(await runTrainer(reference), 'finished', JSON.stringify((await statusOf(reference)).error));
});

describe('an uninterrupted run', () => {
  test('ends finished, owned by nobody', async () => {
    const status = await statusOf(reference);
    assert.equal(status.state, 'finished');
    assert.equal(status.step, 12);
    assert.equal(status.totalSteps, 12);
    assert.equal(status.lastCheckpoint, 12);
    assert.equal(status.attempt, 1);
    assert.equal(await readOwner(reference), null);
    assertNothingHalfWritten(reference);
  });

  test('writes one step event a step, with the schedule of the reference', () => {
    assert.deepEqual(stepsOf(reference), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const steps = metricsOf(reference).flatMap((event) => (event.type === 'step' ? [event] : []));
    assert.equal(steps[0]!.learningRate.lowRank, 0);
    assert.equal(steps[1]!.learningRate.lowRank, 1e-3);
    assert.equal(steps[1]!.learningRate.scales, 1e-4);
    assert.ok(steps[11]!.learningRate.lowRank > 0);
    for (const { loss, gradientNorm, tokens, tokensPerSecond, memory } of steps) {
      assert.ok(loss! > 2 && loss! < 8);
      assert.ok(gradientNorm! > 0);
      assert.equal(tokens, 4 * 31);
      assert.ok(tokensPerSecond > 0);
      assert.ok(memory.resident > memory.engine && memory.engine > 1e6);
    }
  });

  test('measures float and round-to-nearest once, trained by cadence, merged at the end', () => {
    const evaluations = metricsOf(reference).flatMap((event) =>
      event.type === 'eval' ? [`${String(event.step)} ${event.kind} ${event.form}`] : [],
    );
    assert.deepEqual(evaluations, [
      '0 validation float',
      '0 validation round-to-nearest',
      '4 validation trained',
      '8 validation trained',
      '12 validation trained',
      '12 validation merged',
    ]);
    const names = new Set(layersOf(reference).flatMap((event) => (event.type === 'layer' ? [event.name] : [])));
    assert.equal(names.size, 6 * 7);
    assert.equal(layersOf(reference).length, 3 * 6 * 7);
  });

  test('keeps the newest checkpoints and the best', () => {
    // Saved at 3, 6, 9, 12; only 12 was measured at its own step.
    assert.deepEqual(checkpointsOf(reference), ['step-00000009', 'step-00000012']);
  });

  test('writes the result, in which merging has lost nothing', async () => {
    const result = await resultOf(reference);
    const { float, roundToNearest, trained, merged } = result.perplexity;
    assert.ok(float! < trained! && trained! < roundToNearest!, JSON.stringify(result.perplexity));
    assert.equal(merged, trained);
    assert.equal(result.gapClosed, (roundToNearest! - trained!) / (roundToNearest! - float!));
    // 2 bits and a float32 scale a row of 192 (or 512) weights.
    assert.ok(result.bitsPerWeight > 2 + 32 / 512 && result.bitsPerWeight < 2 + 32 / 192);
    assert.ok(result.modelBytes < result.float!.modelBytes / 2);
    assert.ok(result.tokensPerSecond > 0 && result.seconds > 0);
    assert.ok(result.residentMemoryBytes > result.peakMemoryBytes);
    const choices = JSON.parse(readFileSync(path.join(reference, 'choices.json'), 'utf8')) as {
      plan: Record<string, number>;
    };
    const planned = Object.values(choices.plan).reduce((sum, bytes) => sum + bytes, 0);
    assert.equal(result.peakMemoryBytes, planned, 'the engine allocates what was planned');
  });

  test('writes the merged integers, packed', async () => {
    const header = await readHeader(path.join(reference, 'merged.safetensors'));
    assert.equal(header.tensors.size, 2 * 6 * 7);
    const codes = header.tensors.get('model.layers.0.mlp.down_proj.codes');
    assert.deepEqual(codes?.shape, [192, 512 / 4]);
    assert.equal(codes.dtype, 'U8');
    assert.deepEqual(header.tensors.get('model.layers.0.mlp.down_proj.scales')?.shape, [192]);
  });

  test('says where it comes from', () => {
    const provenance = JSON.parse(readFileSync(path.join(reference, 'provenance.json'), 'utf8')) as {
      device: { compute: string; threads: number };
      hashes: { model: { sha256: string }[]; data: unknown[]; tokenizer: unknown[] };
    };
    assert.equal(provenance.device.compute, 'float32');
    assert.equal(provenance.device.threads, 2);
    assert.equal(provenance.hashes.model.length, 2);
    assert.match(provenance.hashes.model[0]!.sha256, /^[0-9a-f]{64}$/);
  });

  test('is not run again', async () => {
    await assert.rejects(runTrainer(reference), { code: 'RunFinished' });
    assert.equal((await statusOf(reference)).state, 'finished');
  });
});

test('the same experiment gives the same run', async () => {
  const again = await newRun(folder, shortExperiment());
  assert.equal(await runTrainer(again), 'finished');
  await assertSameRun(again, reference);
});

describe('stopping and resuming', () => {
  test('stop by control file saves where the run stands; resume ends as if it had never stopped', async () => {
    const run = await newRun(folder, shortExperiment());
    const stop = atStep(5, () => void sendControl(run, 'stop'));
    assert.equal(await runTrainer(run, { onEvent: stop }), 'stopped');
    const stopped = await statusOf(run);
    assert.equal(stopped.state, 'stopped');
    assert.equal(stopped.acknowledged?.verb, 'stop');
    assert.ok(stopped.step >= 5 && stopped.step < 12, String(stopped.step));
    assert.equal(stopped.lastCheckpoint, stopped.step, 'nothing is lost');
    assert.equal(await readOwner(run), null);
    assertNothingHalfWritten(run);

    assert.equal(await runTrainer(run), 'finished');
    assert.equal((await statusOf(run)).attempt, 2);
    const resumes = metricsOf(run).filter((event) => event.type === 'resume');
    assert.deepEqual(
      resumes.map((event) => event.fromStep),
      [stopped.step],
    );
    await assertSameRun(run, reference);
  });

  test('stop at every step in turn', async () => {
    const run = await newRun(folder, shortExperiment());
    let attempts = 0;
    for (let state = 'stopped'; state !== 'finished'; attempts++) {
      assert.equal(state, 'stopped', JSON.stringify((await statusOf(run)).error));
      const stop = new AbortController();
      const step = (await statusOf(run)).step + 1;
      state = await runTrainer(run, { signal: stop.signal, onEvent: atStep(step, () => stop.abort()) });
    }
    assert.equal(attempts, 13);
    await assertSameRun(run, reference);
  });

  test('a stop during an evaluation repeats it after the resume', async () => {
    // One evaluation, long beside everything else.
    const experiment = shortExperiment({
      training: { steps: 5, batchSize: 2, microBatchSize: 2 },
      evaluation: { everySteps: 4, maxBatches: 30, kinds: ['validation'] },
    });
    const whole = await newRun(folder, experiment);
    assert.equal(await runTrainer(whole), 'finished');
    const run = await newRun(folder, experiment);
    const stop = new AbortController();
    const onEvent = atStep(4, () => setTimeout(() => stop.abort(), 10));
    assert.equal(await runTrainer(run, { signal: stop.signal, onEvent }), 'stopped');
    assert.equal((await statusOf(run)).step, 4);
    const trained = metricsOf(run).filter((event) => event.type === 'eval' && event.form === 'trained');
    assert.deepEqual(trained, [], 'the evaluation was over in 10 ms');
    assert.equal(await runTrainer(run), 'finished');
    await assertSameRun(run, whole);
  });

  test('stop now gives up what was done since the last checkpoint', async () => {
    const run = await newRun(folder, shortExperiment());
    const stopNow = new AbortController();
    const ended = await runTrainer(run, { stopNow: stopNow.signal, onEvent: atStep(5, () => stopNow.abort()) });
    assert.equal(ended, 'stopped');
    assert.deepEqual(checkpointsOf(run), ['step-00000003']);
    assert.equal(await runTrainer(run), 'finished');
    assert.deepEqual(
      metricsOf(run).flatMap((event) => (event.type === 'resume' ? [event.fromStep] : [])),
      [3],
    );
    await assertSameRun(run, reference);
  });

  test('a stop before the first step leaves a run that starts from the beginning', async () => {
    const run = await newRun(folder, shortExperiment());
    assert.equal(await runTrainer(run, { signal: AbortSignal.abort() }), 'stopped');
    assert.deepEqual(checkpointsOf(run), []);
    assert.equal(await runTrainer(run), 'finished');
    await assertSameRun(run, reference);
  });

  test('an older checkpoint serves when the newest is damaged', async () => {
    const run = await newRun(folder, shortExperiment());
    const stop = new AbortController();
    await runTrainer(run, { signal: stop.signal, onEvent: atStep(7, () => stop.abort()) });
    writeFileSync(path.join(run, 'checkpoints', 'step-00000007', 'adapter.safetensors'), 'damaged');
    assert.equal(await runTrainer(run), 'finished');
    assert.match(readFileSync(path.join(run, 'log.txt'), 'utf8'), /passed over.*step-00000007.*adapter\.safetensors/);
    assert.deepEqual(
      metricsOf(run).flatMap((event) => (event.type === 'resume' ? [event.fromStep] : [])),
      [6],
    );
    await assertSameRun(run, reference);
  });
});

describe('pausing', () => {
  test('a paused run stays where it is, saves when asked, and goes on unchanged', async () => {
    const run = await newRun(folder, shortExperiment());
    // Without patience the pause interrupts the step it comes in, which is made again with the same tokens.
    const ended = runTrainer(run, { pausePatience: -1, onEvent: atStep(4, () => void sendControl(run, 'pause')) });
    await until(async () => (await statusOf(run)).state === 'paused', 'paused');
    try {
      const { step } = await statusOf(run);
      assert.ok(step >= 4 && step < 12);

      // That it leaves the processor alone is seen from outside, in cli/train.test.ts.
      await sleep(500);
      assert.equal((await statusOf(run)).step, step);

      await sendControl(run, 'checkpoint');
      await until(async () => (await statusOf(run)).acknowledged?.verb === 'checkpoint', 'checkpoint');
      assert.ok(checkpointsOf(run).includes(`step-${String(step).padStart(8, '0')}`));
      assert.equal((await statusOf(run)).state, 'paused');
    } finally {
      // Whatever failed: a trainer that stays paused would keep this process alive.
      await sendControl(run, 'resume');
    }
    assert.equal(await ended, 'finished');
    await assertSameRun(run, reference);
  });

  test('a paused run can be stopped', async () => {
    const run = await newRun(folder, shortExperiment());
    const ended = runTrainer(run, { onEvent: atStep(2, () => void sendControl(run, 'pause')) });
    await until(async () => (await statusOf(run)).state === 'paused', 'paused');
    await sendControl(run, 'stop');
    assert.equal(await ended, 'stopped');
    assert.equal(await runTrainer(run), 'finished');
    await assertSameRun(run, reference);
  });
});

test('a defect outside of the trainer ends the run with its reason', async () => {
  const run = await newRun(folder, shortExperiment());
  const fatal = new AbortController();
  const onEvent = atStep(5, () => fatal.abort(new Error('a timer has thrown')));
  assert.equal(await runTrainer(run, { fatal: fatal.signal, onEvent }), 'failed');
  const { state, error } = await statusOf(run);
  assert.equal(state, 'failed');
  assert.equal(error?.message, 'a timer has thrown');
  assert.equal(await runTrainer(run), 'finished');
  await assertSameRun(run, reference);
});

test('a run whose folder is renamed ends, and makes nothing under the old name', async () => {
  const run = await newRun(folder, shortExperiment());
  const renamed = `${run}-renamed`;
  const onEvent = atStep(5, () => renameSync(run, renamed));
  assert.equal(await runTrainer(run, { onEvent }), 'failed');
  assert.ok(!existsSync(run));
  assert.ok(metricsOf(renamed).filter(({ type }) => type === 'step').length >= 5);
});

test('round-to-nearest alone is measured and merged without training', async () => {
  const run = await newRun(folder, shortExperiment({ quantization: { method: 'rtn' } }));
  assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
  const { perplexity, gapClosed } = await resultOf(run);
  assert.equal(perplexity.trained, null);
  assert.equal(gapClosed, null);
  assert.equal(perplexity.merged, perplexity.roundToNearest);
  assert.equal(perplexity.roundToNearest, (await resultOf(reference)).perplexity.roundToNearest);
  assert.deepEqual(checkpointsOf(run), []);
  assert.deepEqual(stepsOf(run), []);
  assert.equal((await statusOf(run)).totalSteps, 0);
});

test('the WikiText protocol takes sequences longer than those trained on', async () => {
  const text = path.join(folder, 'wikitext.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 4000));
  const experiment = shortExperiment({
    training: { steps: 2, batchSize: 2, microBatchSize: 2 },
    evaluation: {
      everySteps: 0,
      maxBatches: 2,
      kinds: ['wikitext', 'validation'],
      wikitext: { files: [text], sequenceLength: 48 },
    },
  });
  const run = await newRun(folder, experiment);
  const stopNow = new AbortController();
  // Ended while it finishes: what is left to do is done by the resume.
  const onEvent = (event: MetricsEvent): void => {
    if (event.type === 'eval' && event.form === 'merged') stopNow.abort();
  };
  assert.equal(await runTrainer(run, { stopNow: stopNow.signal, onEvent }), 'stopped');
  assert.equal(existsSync(path.join(run, 'result.json')), false);
  assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
  const { evaluations, perplexity } = await resultOf(run);
  const { validation, wikitext } = evaluations!;
  assert.deepEqual(perplexity, wikitext);
  for (const value of Object.values(wikitext!)) assert.ok(value! > 1 && Number.isFinite(value));
  assert.equal(wikitext!.trained, wikitext!.merged);
  assert.notEqual(wikitext!.float, validation!.float);
});
