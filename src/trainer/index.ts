// The trainer: works on one run directory until the run is finished, stopped or failed.

import { setTimeout as sleep } from 'node:timers/promises';
import { systemErrorCode, UserError } from '../errors';
import { formatBytes } from '../experiment';
import { totalBytes } from '../experiment/memory-layout';
import { nodeFileSystem, type FileSystem } from '../formats/file-system';
import { describeFailure, hashFiles, readStatus, RunWriter, type MetricsEvent, type RunError } from '../runs';
import { readJson } from '../runs/json-file';
import { parseProvenance } from '../runs/provenance';
import { newestCheckpoint, restoreCheckpoint } from './checkpoint';
import { ControlDesk, StopRequested } from './control-desk';
import { closeEngine, createEngine, createLongEngine, loadEngine } from './engines';
import { Evaluations } from './evaluations';
import { finish } from './finish';
import { removeLeftovers } from './leftovers';
import { hasBaselines, measureBaselines } from './measure-run';
import { Pace } from './pace';
import { prepare, type Prepared } from './prepare';
import { newProgress } from './progress';
import { saveCheckpoint } from './save-checkpoint';
import type { OwnedRun, PreparedRun, Session } from './session';
import { train } from './training-loop';

/** How a trainer ended. */
export type ExitState = 'finished' | 'stopped' | 'failed';

export interface TrainerOptions {
  /** Aborted: save and stop. */
  readonly signal?: AbortSignal;
  /** Aborted: stop without saving. */
  readonly stopNow?: AbortSignal;
  /** Hears each event as it is written to metrics.jsonl. */
  readonly onEvent?: (event: MetricsEvent) => void;
  /** Aborted with an error as its reason: a defect outside of the trainer's own calls; the run fails with it. */
  readonly fatal?: AbortSignal;
  /** A pause lets a running step end unless that takes longer than this (seconds; default 5). */
  readonly pausePatience?: number;
  /** For tests. */
  readonly fileSystem?: FileSystem;
}

/**
 * Trains a run from where it stands: its start, or its newest complete checkpoint. Failures end in status.json, not in an
 * exception.
 * @throws UserError NotARun, RunInUse, RunFinished: the run is not ours to write
 */
export async function runTrainer(runDirectory: string, options: TrainerOptions = {}): Promise<ExitState> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  if ((await readStatus(runDirectory))?.state === 'finished') {
    throw new UserError('RunFinished', `${runDirectory}: this run is finished`, {
      hint: 'Start a new one with lrqat train.',
    });
  }
  const writer = await RunWriter.open(runDirectory, { fileSystem });
  const pace = new Pace();
  const desk = new ControlDesk(writer, {
    secondsToNextPoint: () => pace.secondsToStepEnd(),
    patience: options.pausePatience ?? 5,
  });
  const silence = [
    onAbort(options.signal, () => desk.stop('save')),
    onAbort(options.stopNow, () => desk.stop('now')),
    onAbort(options.fatal, () => desk.stop('now')),
  ];
  const owned: OwnedRun = {
    directory: runDirectory,
    fileSystem,
    writer,
    desk,
    pace,
    emit: async (event) => {
      await writer.event(event);
      options.onEvent?.(event);
    },
  };
  const end = async (state: ExitState, error?: RunError): Promise<ExitState> => {
    await desk.close().catch(() => undefined);
    await writer.end(state, error);
    options.onEvent?.({ type: 'end', state, time: Date.now() });
    return state;
  };
  const working = work(owned, options.onEvent);
  try {
    await Promise.race([working, failureOf(options.fatal)]);
    return await end('finished');
  } catch (error) {
    // After a defect elsewhere the work is told to stop; it must not write any more when the run is given up.
    await Promise.race([working.catch(() => undefined), sleep(5_000, undefined, { ref: false })]);
    if (error instanceof StopRequested) return await end('stopped');
    const unexpected = !(error instanceof UserError) && systemErrorCode(error) === null;
    if (unexpected && error instanceof Error) await writer.log(error.stack ?? error.message);
    return await end('failed', describeFailure(error, runDirectory));
  } finally {
    silence.forEach((remove) => remove());
  }
}

async function work(owned: OwnedRun, onEvent: TrainerOptions['onEvent']): Promise<void> {
  const begun = performance.now();
  await removeLeftovers(owned.fileSystem, owned.directory);
  const prepared = await prepare(owned);
  const { run } = prepared;
  await logChoices(run);
  const background = new AbortController();
  const provenance = recordProvenance(run, background.signal).catch((error: unknown) =>
    run.writer.log(`provenance is incomplete: ${String(error)}`),
  );
  try {
    const evaluations = await Evaluations.open(run.fileSystem, run.directory);
    await measureLongBaselines(run, evaluations);
    const session = await openSession(prepared, begun, onEvent);
    try {
      await trainAndFinish(session, prepared, evaluations);
    } catch (error) {
      if (error instanceof StopRequested && error.kind === 'save') await saveWhereItStands(session);
      throw error;
    } finally {
      await closeEngine(run, session.engine);
    }
    await provenance;
  } finally {
    background.abort();
    await provenance;
    prepared.close();
  }
}

async function trainAndFinish(session: Session, { data }: Prepared, evaluations: Evaluations): Promise<void> {
  const { writer, engine } = session;
  writer.update({ state: 'running' });
  await measureBaselines(session, engine, session.texts, evaluations);
  if (data !== null) await train(session, data);
  await finish(session, evaluations);
}

/** Loads the engine and takes up the counts of the newest checkpoint. */
async function openSession(
  { run, data }: Prepared,
  begun: number,
  onEvent: TrainerOptions['onEvent'],
): Promise<Session> {
  const { writer, directory, experiment, desk } = run;
  const engine = createEngine(run);
  try {
    const baseDigest = await loadEngine(run, engine);
    const messages: string[] = [];
    const checkpoint = data === null ? null : await newestCheckpoint(directory, (message) => messages.push(message));
    for (const message of messages) await writer.log(`checkpoint passed over: ${message}`);
    const progress = checkpoint?.state.progress ?? newProgress(data?.state() ?? null);
    if (checkpoint !== null) {
      if (checkpoint.state.baseDigest !== baseDigest) {
        throw new UserError('BaseChanged', `${checkpoint.directory}: belongs to another Φ0 and s0 than base/`);
      }
      await restoreCheckpoint(engine, checkpoint);
      data?.restore(progress.data);
    }
    if (writer.status.attempt > 1) {
      await writer.resumeFrom(progress.step);
      onEvent?.({ type: 'resume', fromStep: progress.step, time: Date.now() });
    }
    writer.update({
      step: progress.step,
      totalSteps: data === null ? 0 : experiment.training.steps,
      best: progress.best,
      lastCheckpoint: checkpoint === null ? null : progress.step,
    });
    const before = progress.seconds;
    return {
      ...run,
      engine,
      baseDigest,
      progress,
      savedAt: checkpoint === null ? null : progress.step,
      secondsSoFar: () => before + (performance.now() - begun) / 1000,
    };
  } catch (error) {
    await closeEngine(run, engine);
    if (desk.stopping !== null) await desk.point();
    throw error;
  }
}

/** Texts that the training engine cannot take are measured before it is there, so that the two are never in memory at once. */
async function measureLongBaselines(run: PreparedRun, evaluations: Evaluations): Promise<void> {
  for (const text of run.longTexts) {
    if (hasBaselines([text], evaluations)) continue;
    const engine = createLongEngine(run, text.sequenceLength);
    try {
      await loadEngine(run, engine);
      await measureBaselines(run, engine, [text], evaluations);
    } finally {
      await closeEngine(run, engine);
    }
  }
}

/** A stop keeps the work of the steps since the last checkpoint. */
async function saveWhereItStands(session: Session): Promise<void> {
  if (session.progress.step > 0 && session.savedAt !== session.progress.step) await saveCheckpoint(session);
}

/** What this attempt computes with, and whether that gives the bits of the first. */
async function logChoices({ writer, choices, departures }: PreparedRun): Promise<void> {
  const { compute, threads, isa, gemm, activationCheckpointing, plan } = choices;
  const products = gemm === null ? 'built-in products' : `${gemm.library} ${gemm.version}`;
  await writer.log(
    `${compute}, ${String(threads)} threads, ${isa}, ${products}, activation checkpointing ${activationCheckpointing}, ${formatBytes(totalBytes(plan))}`,
  );
  if (departures.length === 0) return;
  await writer.log(`this attempt will not be equal to the bit to an uninterrupted run: ${departures.join('; ')}`);
}

/** What the run was made with and from; hashing large files goes on while the run works. */
async function recordProvenance(run: PreparedRun, signal: AbortSignal): Promise<void> {
  const { writer, choices, model } = run;
  const { plan: _plan, data: _data, schema: _schema, ...device } = choices;
  await writer.updateProvenance({ device });
  if (parseProvenance(await readJson(writer.paths.provenance)).hashes) return;
  try {
    const hashes = {
      model: await hashFiles(model.files, signal),
      data: await hashFiles(run.corpusFiles, signal),
      tokenizer: await hashFiles([model.tokenizerFile], signal),
    };
    await writer.updateProvenance({ hashes });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Rejects when the signal is aborted, with its reason. */
function failureOf(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    onAbort(signal, () => reject(signal?.reason instanceof Error ? signal.reason : new Error(String(signal?.reason))));
  });
}

function onAbort(signal: AbortSignal | undefined, action: () => void): () => void {
  if (signal === undefined) return () => undefined;
  if (signal.aborted) action();
  signal.addEventListener('abort', action, { once: true });
  return () => signal.removeEventListener('abort', action);
}
