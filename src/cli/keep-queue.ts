// Every command that looks at runs starts what waits in their queue and has room: no other process does it when a trainer was
// killed or the machine has been started again.
import path from 'node:path';
import { messageOf, UserError } from '../errors';
import { advanceQueue } from '../launch';
import { hasQueue } from '../runs';
import type { Context } from './context';

/** Never a reason for the command itself to fail. */
export async function keepQueueGoing(runsFolder: string, { messages }: Context): Promise<void> {
  if (!hasQueue(runsFolder)) return;
  try {
    const started = await advanceQueue(runsFolder, {
      onFailure: (directory, error) => messages.line(`note: ${path.basename(directory)} failed: ${messageOf(error)}`),
    });
    for (const directory of started) messages.line(`started from the queue: ${path.basename(directory)}`);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    messages.line(`note: the queue waits: ${error.message}`);
  }
}
