// Ending a trainer without waiting for a checkpoint.
import { sendControl } from './control';
import { recordEnd } from './lifecycle';
import { readOwner } from './owner';
import { livenessOf } from './process-identity';
import { readState } from './run-reader';
import { isEnded } from './status';

/** How long a trainer that was told to stop at once may take before it is killed (milliseconds). */
const PATIENCE = 3_000;

/** Ends a run's trainer without saving; a run can be resumed from its last checkpoint whatever was going on.
 *  @param onPatienceEnd instead of killing the owner: for a trainer that is this very process */
export async function stopNow(runDirectory: string, onPatienceEnd?: () => never): Promise<void> {
  await sendControl(runDirectory, 'stop', { save: false });
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    if (isEnded((await readState(runDirectory)).state)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  onPatienceEnd?.();
  const owner = await readOwner(runDirectory);
  // A process on another host cannot be killed from here; it has the message.
  if (owner === null || livenessOf(owner) !== 'alive') return;
  process.kill(owner.pid, 'SIGKILL');
  while (livenessOf(owner) === 'alive') await new Promise((resolve) => setTimeout(resolve, 20));
  await recordEnd(runDirectory, 'stopped', null);
}
