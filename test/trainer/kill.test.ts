// The detached trainer process, killed at random moments and by signals: in the end the run is what it would have been.

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, openSync, closeSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendControl, runPaths } from '../../src/runs';
import { runTrainer } from '../../src/trainer';
import {
  assertNothingHalfWritten,
  assertSameRun,
  checkpointsOf,
  metricsOf,
  newRun,
  shortExperiment,
  statusOf,
  stepsOf,
  sharedFolder,
  withLongBeginning,
} from './sample-run';

/** Made by scripts/build.mjs, which runs before the tests. */
const BUILT = 'dist/trainer.js';
const KILLS = 20;

/** Saved and evaluated so often that a random moment has a good chance to be within either. */
const experiment = shortExperiment({
  training: { steps: 40, batchSize: 2, microBatchSize: 1 },
  evaluation: { everySteps: 5, maxBatches: 4, kinds: ['validation'] },
  checkpoint: { everySteps: 2, keep: 2 },
});

const folder = sharedFolder();
let trainerFile: string;
let reference: string;

before(async () => {
  trainerFile = path.join(folder, 'trainer.js');
  // A copy, so that a build in the meantime changes nothing.
  copyFileSync(BUILT, trainerFile);
  reference = await newRun(folder, experiment);
  assert.equal(await runTrainer(reference), 'finished', JSON.stringify((await statusOf(reference)).error));
});

interface Trainer {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

function start(run: string): Trainer {
  const log = openSync(runPaths(run).log, 'a');
  const child = spawn(process.execPath, [trainerFile, run], {
    stdio: ['ignore', log, log],
    env: { ...process.env, LRQAT_NATIVE: process.env['LRQAT_NATIVE'] ?? path.resolve('build/Release') },
  });
  closeSync(log);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  return { child, ended };
}

/** Waits until training has come so far; fails when the trainer ends before. */
async function untilStep(run: string, trainer: Trainer, step: number): Promise<void> {
  const ended = trainer.ended.then(() => true);
  while (stepsIn(run) < step) {
    assert.equal(await Promise.race([ended, sleep(5, false)]), false, `ended early: ${logOf(run)}`);
  }
}

function logOf(run: string): string {
  return readFileSync(runPaths(run).log, 'utf8');
}

function metricsSize(run: string): number {
  return statSync(runPaths(run).metrics, { throwIfNoEntry: false })?.size ?? 0;
}

/** Mulberry32: the moments are the same in every run of the test, as far as the machine is as fast. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

test(`${String(KILLS)} kills at random moments change nothing`, async () => {
  const draw = random(20);
  let run = await newRun(folder, experiment);
  const states = new Map<string, number>();
  let finished = 0;
  for (let kills = 0; kills < KILLS;) {
    const trainer = start(run);
    const ended = trainer.ended.then(() => true);
    // One in four while the trainer starts; the others some time after it has written its next event.
    const size = metricsSize(run);
    const early = kills % 4 === 0;
    while (!early && metricsSize(run) <= size + 200 && !(await Promise.race([ended, sleep(2, false)])));
    await Promise.race([ended, sleep(draw() * 250)]);
    trainer.child.kill('SIGKILL');
    const { code } = await trainer.ended;
    if (code === null) {
      kills += 1;
      const { state, phase } = await statusOf(run);
      const key = `${state} ${phase ?? 'training'}`.replace(/:.*/, '');
      states.set(key, (states.get(key) ?? 0) + 1);
      continue;
    }
    assert.equal(code, 0, logOf(run));
    await assertSameRun(run, reference);
    run = await newRun(folder, experiment);
    finished += 1;
  }
  const last = start(run);
  assert.deepEqual(await last.ended, { code: 0, signal: null }, logOf(run));
  await assertSameRun(run, reference);
  assertNothingHalfWritten(run);
  assert.deepEqual(
    stepsOf(run),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
  const resumes = metricsOf(run).filter((event) => event.type === 'resume').length;
  assert.ok(resumes + finished > 0);
  assert.ok(
    [...states.keys()].some((key) => key.startsWith('running')),
    JSON.stringify([...states]),
  );
});

test('killed in each phase before the first step, a run gives the same bits', async () => {
  const before = withLongBeginning({
    training: { steps: 4, batchSize: 2, microBatchSize: 1 },
    evaluation: { everySteps: 4, maxBatches: 2, kinds: ['validation'] },
  });
  const whole = await newRun(folder, before);
  assert.equal(await runTrainer(whole), 'finished', JSON.stringify((await statusOf(whole)).error));
  const run = await newRun(folder, before);
  const has = (name: string) => () => existsSync(path.join(run, name));
  const moments: readonly (readonly [string, () => boolean])[] = [
    ['GPTQ', () => logOf(run).includes('GPTQ on ')],
    ['the start is stored', has('base/scales.safetensors')],
    ['the ranges are stored', has('base/activations.safetensors')],
    ['the teacher is asked', has('.teacher.bin.unfinished')],
  ];
  for (const [moment, isReached] of moments) {
    const trainer = start(run);
    const ended = trainer.ended.then(() => true);
    while (!isReached()) assert.equal(await Promise.race([ended, sleep(1, false)]), false, `${moment}: ${logOf(run)}`);
    trainer.child.kill('SIGKILL');
    assert.equal((await trainer.ended).signal, 'SIGKILL', moment);
    assertNothingHalfWritten(run);
  }
  assert.deepEqual(stepsOf(run), []);
  assert.deepEqual(await start(run).ended, { code: 0, signal: null }, logOf(run));
  await assertSameRun(run, whole);
});

test('a crash of native code leaves its reason as the last line of the log', async () => {
  const run = await newRun(folder, experiment);
  const trainer = start(run);
  await untilStep(run, trainer, 1);
  trainer.child.kill('SIGSEGV');
  assert.deepEqual(await trainer.ended, { code: null, signal: 'SIGSEGV' });
  assert.match(logOf(run), /\nfatal: segmentation fault \(SIGSEGV\) in the trainer process\n$/);
});

test('SIGTERM saves and ends well; resume goes on from there', async () => {
  const run = await newRun(folder, experiment);
  const trainer = start(run);
  await untilStep(run, trainer, 3);
  trainer.child.kill('SIGTERM');
  assert.deepEqual(await trainer.ended, { code: 0, signal: null });
  const status = await statusOf(run);
  assert.equal(status.state, 'stopped');
  assert.equal(checkpointsOf(run).at(-1), `step-${String(status.step).padStart(8, '0')}`);
  assert.equal(await runTrainer(run), 'finished');
  await assertSameRun(run, reference);
});

test('a run has one trainer: a second is refused and changes nothing', async () => {
  const run = await newRun(folder, experiment);
  const trainer = start(run);
  await untilStep(run, trainer, 1);
  const second = start(run);
  assert.equal((await second.ended).code, 2);
  await sendControl(run, 'stop', { save: false });
  assert.equal((await trainer.ended).code, 0);
  assert.equal((await statusOf(run)).attempt, 1);
});

function stepsIn(run: string): number {
  if (!existsSync(runPaths(run).metrics)) return 0;
  return metricsOf(run).filter((event) => event.type === 'step').length;
}
