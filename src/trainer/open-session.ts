// From a prepared run to one that can train: the engine loaded, its numbers and counts those of the newest checkpoint.

import { UserError } from '../errors';
import type { MetricsEvent } from '../runs';
import { restoreAlgorithms } from './algorithms';
import { newestCheckpoint, restoreCheckpoint } from './checkpoint';
import { closeEngine, createEngine, loadEngine } from './engines';
import type { Prepared } from './prepare';
import { newProgress } from './progress';
import type { Session } from './session';

/** @param begun when this attempt began, by performance.now */
export async function openSession(
  { run, data }: Prepared,
  begun: number,
  onEvent: ((event: MetricsEvent) => void) | undefined,
): Promise<Session> {
  const { writer, directory, experiment, desk } = run;
  const engine = createEngine(run);
  try {
    const baseDigest = await loadEngine(run, engine);
    const otherAlgorithms = await restoreAlgorithms(directory, engine);
    if (otherAlgorithms !== null) await writer.log(`not the same bits as before: ${otherAlgorithms}`);
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
