// What a run starts from when that is not round-to-nearest: found once, before the training engine is there, and stored in
// base/ with the bits that it stands for. Stopped in between, it begins anew and finds the same.

import type { Engine, StartOptions } from '../../native/binding/addon';
import { startOf, type Experiment } from '../experiment';
import { hasStoredBase, storeBase, weightsFingerprint } from './base';
import type { TrainingData } from './data/training-data';
import { closeEngine, createEngine, createStartEngine, loadEngine } from './engines';
import type { Evaluations } from './evaluations';
import { hasBaselines, measureBaselines, measureForRun } from './measure-run';
import { isCancelled, type PreparedRun, type Session } from './session';

/** @param data at its beginning; its first sequences calibrate
 *  @throws StopRequested */
export async function ensureStart(
  run: PreparedRun,
  data: TrainingData | null,
  evaluations: Evaluations,
): Promise<void> {
  if (startOf(run.experiment) === null || hasStoredBase(run.directory)) return;
  run.writer.update({ state: 'running' });
  // Once another start is in place, round-to-nearest cannot be measured any more.
  if (run.device.type !== 'cpu' && !hasBaselines(run.texts, evaluations)) {
    await withEngine(run, createEngine(run), (engine) => measureBaselines(run, engine, run.texts, evaluations));
  }
  await withEngine(run, createStartEngine(run), async (engine) => {
    await measureBaselines(run, engine, run.texts, evaluations);
    await findStart(run, engine, data);
    run.writer.update({ phase: 'storing the start' });
    await storeBase({
      engine,
      linears: run.linears,
      runDirectory: run.directory,
      fileSystem: run.fileSystem,
      digest: await engine.baseDigest(),
      started: await weightsFingerprint(run.model, run.linears),
      withFactors: (startOf(run.experiment)?.lowRank ?? null) !== null,
    });
    run.writer.update({ phase: null });
  });
}

async function withEngine(run: PreparedRun, engine: Engine, body: (engine: Engine) => Promise<void>): Promise<void> {
  try {
    await loadEngine(run, engine);
    await body(engine);
  } finally {
    await closeEngine(run, engine);
  }
}

async function findStart(run: PreparedRun, engine: Engine, data: TrainingData | null): Promise<void> {
  const { desk, writer, experiment } = run;
  const { options, tokens } = startOptions(experiment, data);
  await desk.point();
  const phase = options.gptq === null ? 'finding the start' : 'GPTQ';
  writer.update({ phase, progress: null });
  await writer.log(options.gptq === null ? 'finding the start' : `GPTQ on ${String(tokens)} calibration tokens`);
  const begun = performance.now();
  try {
    await engine.findStart({
      ...options,
      onProgress: ({ linear, done, total }) =>
        writer.update({ phase: `${phase}: ${linear}`, progress: { done, total } }),
    });
  } catch (error) {
    if (isCancelled(error)) await desk.point();
    throw error;
  }
  writer.update({ phase: null, progress: null });
  await writer.log(`the start was found in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
}

function startOptions(
  { quantization, data: { sequenceLength } }: Experiment,
  data: TrainingData | null,
): { options: StartOptions; tokens: number } {
  const start = startOf({ quantization });
  const iterations = start?.lowRank ?? null;
  const lowRank = iterations === null ? null : { iterations };
  if (start?.gptq !== true || data === null) return { options: { gptq: null, lowRank, calibration: null }, tokens: 0 };
  const { damping, activationOrder, sequences } = quantization.gptq;
  const count = Math.min(sequences, data.sequences);
  const calibration = data.next(count);
  return { options: { gptq: { damping, activationOrder }, lowRank, calibration }, tokens: count * sequenceLength };
}

/** Method gptq: what it has found, as other methods measure what they have trained. */
export async function measureStart(session: Session): Promise<void> {
  for (const text of session.texts) {
    session.progress.trained[text.kind] = await measureForRun(session, session.engine, text, 'trained', 0);
  }
  session.progress.evaluatedAt = 0;
}
