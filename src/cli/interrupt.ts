// Ctrl-C during `train` and `resume`: once stops the run and saves it, twice stops it at once, a third time leaves.
import { isEnded, readOwner, readState, recordEnd, sendControl } from '../runs';
import { livenessOf } from '../runs/process-identity';
import { EXIT } from './exit-codes';
import type { RunView } from './views';

/** How long a trainer that was told to stop at once may take before it is killed (milliseconds). */
const PATIENCE = 3_000;

export interface Interrupts {
  readonly count: () => number;
  dispose(): void;
}

/** @param foreground the trainer is this very process. */
export function stopOnInterrupt(runDirectory: string, view: RunView, foreground: boolean): Interrupts {
  let count = 0;
  const report = (error: unknown): void => view.note(`cannot stop the run: ${String(error)}`);
  const onInterrupt = (): void => {
    count += 1;
    if (count === 1) {
      view.note('stopping: the run is saved first … (Ctrl-C again stops at once, without saving)');
      sendControl(runDirectory, 'stop').catch(report);
    } else if (count === 2) {
      view.note('stopping at once …');
      stopNow(runDirectory, foreground).catch(report);
    } else {
      view.close();
      process.exit(EXIT.interrupted);
    }
  };
  process.on('SIGINT', onInterrupt);
  return { count: () => count, dispose: () => void process.off('SIGINT', onInterrupt) };
}

/** Ends a run's trainer without saving; a run can be resumed from its last checkpoint whatever was going on. */
export async function stopNow(runDirectory: string, foreground = false): Promise<void> {
  await sendControl(runDirectory, 'stop', { save: false });
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    if (isEnded((await readState(runDirectory)).state)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (foreground) process.exit(EXIT.interrupted);
  const owner = await readOwner(runDirectory);
  // A process on another host cannot be killed from here; it has the message.
  if (owner === null || livenessOf(owner) !== 'alive') return;
  process.kill(owner.pid, 'SIGKILL');
  while (livenessOf(owner) === 'alive') await new Promise((resolve) => setTimeout(resolve, 20));
  await recordEnd(runDirectory, 'stopped', null);
}
