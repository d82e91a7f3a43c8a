// A checkpoint of a running session: what must be on the disk before it, and what follows it.

import { pruneCheckpoints } from '../runs';
import { storeAlgorithms } from './algorithms';
import { writeCheckpoint } from './checkpoint';
import { better, perplexityOf } from './progress';
import type { Session } from './session';

/** Saves where the run stands, tells who asked, and removes old checkpoints. */
export async function saveCheckpoint(session: Session): Promise<void> {
  const { directory, experiment, fileSystem, writer, desk, engine, baseDigest, progress } = session;
  const { step } = progress;
  writer.requireFolder();
  const phase = writer.status.phase;
  writer.update({ phase: 'saving' });
  // The best checkpoint is the best of those that were measured at their own step.
  const validation = progress.evaluatedAt === step ? progress.trained['validation'] : undefined;
  if (validation !== undefined) {
    progress.bestCheckpoint = better(progress.bestCheckpoint, step, perplexityOf(validation));
  }
  progress.seconds = session.secondsSoFar();
  await writer.sync();
  await storeAlgorithms(fileSystem, directory, engine);
  await writeCheckpoint(fileSystem, directory, engine, { baseDigest, progress });
  session.savedAt = step;
  await session.emit({ type: 'checkpoint', step, time: Date.now() });
  await pruneCheckpoints(directory, experiment.checkpoint.keep, progress.bestCheckpoint?.step ?? null, fileSystem);
  writer.update({ lastCheckpoint: step, phase });
  if (desk.wantsCheckpoint) await desk.checkpointWritten();
}
