// The trainer: works on one run directory until the run is finished, stopped or failed.

import { setTimeout as sleep } from 'node:timers/promises';
import { systemErrorCode, UserError } from '../errors';
import { nodeFileSystem, type FileSystem } from '../formats/file-system';
import { describeFailure, readStatus, RunWriter, type MetricsEvent, type RunError } from '../runs';
import { ControlDesk, StopRequested } from './control-desk';
import type { TrainingData } from './data/training-data';
import { closeEngine, createLongEngine, loadEngine } from './engines';
import { Evaluations } from './evaluations';
import { finish } from './finish';
import { removeLeftovers } from './leftovers';
import { hasBaselines, measureBaselines } from './measure-run';
import { openSession } from './open-session';
import { Pace } from './pace';
import { prepare, type Prepared } from './prepare';
import { logChoices, recordProvenance } from './provenance';
import { saveCheckpoint } from './save-checkpoint';
import type { OwnedRun, PreparedRun, Session } from './session';
import { ensureStart, measureStart } from './start';
import { openTeacher } from './teacher';
import { removeTeacher } from './teacher-file';
import { train } from './training-loop';

/** How a trainer ended. */
export type ExitState = 'finished' | 'stopped' | 'failed';

export interface TrainerOptions {
  /** Aborted: save and stop. */
  readonly signal?: AbortSignal;
  /** Aborted: stop without saving. */
  readonly stopNow?: AbortSignal;
  /** Slot of the queue in which the run was started: another one by now, and this process has nothing to do. */
  readonly slot?: string;
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
  const before = await readStatus(runDirectory);
  if (before?.state === 'finished') {
    throw new UserError('RunFinished', `${runDirectory}: this run is finished`, {
      hint: 'Start a new one with lrqat train.',
    });
  }
  if (options.slot !== undefined && before?.queue?.slot !== options.slot) {
    throw new UserError('RunTaken', `${runDirectory}: the queue has given this run to another process`);
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
    onAbort(writer.gone, () => desk.stop('now')),
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
    await Promise.race([working, failureOf(options.fatal), failureOf(writer.gone)]);
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
    await ensureStart(run, prepared.calibration, evaluations);
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
  if (data !== null) await trainWithTeacher(session, data);
  else if (session.experiment.quantization.method === 'gptq') await measureStart(session);
  await finish(session, evaluations);
  await removeTeacher(session.fileSystem, session.directory);
}

async function trainWithTeacher(session: Session, data: TrainingData): Promise<void> {
  const isDone = session.progress.step >= session.experiment.training.steps;
  const teacher = isDone ? null : await openTeacher(session, data);
  try {
    await train(session, data, teacher);
  } finally {
    await teacher?.close();
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
