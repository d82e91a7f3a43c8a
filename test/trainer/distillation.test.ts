// Runs that follow the float model as well, with the real engine.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { runTrainer } from '../../src/trainer';
import { teacherFile, unfinishedTeacherFile } from '../../src/trainer/teacher-file';
import {
  assertNothingHalfWritten,
  assertSameRun,
  metricsOf,
  newRun,
  resultOf,
  sharedFolder,
  shortExperiment,
  statusOf,
  temporaryFolder,
} from './sample-run';
import path from 'node:path';

const folder = sharedFolder();
const distillation = { weight: 0.5, topK: 8, temperature: 2 };

function errorOf(status: { readonly error?: unknown }): string {
  return JSON.stringify(status.error);
}

test('stopped while the float model is asked and after some steps, a run with distillation gives the same bits', async () => {
  const experiment = shortExperiment({ training: { steps: 24, distillation } });
  const whole = await newRun(folder, experiment);
  assert.equal(await runTrainer(whole), 'finished', errorOf(await statusOf(whole)));
  assert.ok(!existsSync(teacherFile(whole)), 'kept after the end');
  const steps = metricsOf(whole).flatMap((event) => (event.type === 'step' ? [event] : []));
  assert.equal(steps.length, 24);
  for (const { loss, crossEntropy, divergence } of steps) {
    assert.ok(Math.abs(loss! - (0.5 * crossEntropy! + 0.5 * 4 * divergence!)) < 1e-9);
    assert.ok(divergence! > 0);
  }

  const run = await newRun(folder, experiment);
  const early = new AbortController();
  const stopped = await runTrainer(run, {
    signal: early.signal,
    // Both baselines are there: what comes next is the float model's pass.
    onEvent: (event) => {
      if (event.type === 'eval' && event.form === 'round-to-nearest') early.abort();
    },
  });
  assert.equal(stopped, 'stopped');
  assert.ok(!existsSync(teacherFile(run)), 'named before it is whole');
  const late = new AbortController();
  const again = await runTrainer(run, {
    signal: late.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 5) late.abort();
    },
  });
  assert.equal(again, 'stopped');
  // As if killed while it was being written: under its other name, cut in the middle of a sequence.
  const bytes = readFileSync(teacherFile(run));
  writeFileSync(unfinishedTeacherFile(run), bytes.subarray(0, Math.floor(bytes.length * 0.7)));
  truncateSync(teacherFile(run), 10);
  const third = new AbortController();
  assert.equal(
    await runTrainer(run, {
      signal: third.signal,
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 9) third.abort();
      },
    }),
    'stopped',
  );
  assert.ok(readFileSync(teacherFile(run)).equals(bytes), 'the float model’s answers');
  assert.match(readFileSync(path.join(run, 'log.txt'), 'utf8'), /of which it has answered before/);
  assert.equal(await runTrainer(run), 'finished', errorOf(await statusOf(run)));
  await assertSameRun(run, whole);
  assertNothingHalfWritten(run);
});

test('where training sees all of a text, each sequence is asked about once; damage ends the run', async (context) => {
  const own = temporaryFolder(context);
  const text = path.join(own, 'short.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt', 'utf8').slice(0, 2500));
  const changes = { data: { train: [text], sequenceLength: 32 }, training: { steps: 40, batchSize: 4, distillation } };
  const run = await newRun(own, shortExperiment(changes));
  const stop = new AbortController();
  const onEvent = (event: { readonly type: string; readonly step?: number }): void => {
    if (event.type === 'step' && event.step === 2) stop.abort();
  };
  assert.equal(await runTrainer(run, { signal: stop.signal, onEvent }), 'stopped', errorOf(await statusOf(run)));
  const file = teacherFile(run);
  const { order, sequences } = JSON.parse(
    readFileSync(file).subarray(16).toString('latin1').replace(/\}.*/s, '}'),
  ) as Record<string, unknown>;
  assert.equal(order, 'corpus');
  assert.ok(Number(sequences) < 160, String(sequences));
  const bytes = readFileSync(file);
  writeFileSync(
    file,
    Buffer.concat([bytes.subarray(0, bytes.length >> 1), Buffer.alloc(bytes.length - (bytes.length >> 1))]),
  );
  assert.equal(statSync(file).size, bytes.length);
  assert.equal(await runTrainer(run), 'failed');
  assert.equal((await statusOf(run)).error?.code, 'DamagedFile');
  writeFileSync(file, bytes);
  assert.equal(await runTrainer(run), 'finished', errorOf(await statusOf(run)));
  assert.ok((await resultOf(run)).perplexity.trained! > 0);
});
