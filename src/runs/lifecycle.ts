// What others than the trainer do to a run's status, always as its owner for that moment: make it ready for a new trainer,
// and write down the end of a trainer that could not.
import { nodeFileSystem, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { UserError } from '../errors';
import { clearControls } from './control';
import { jsonText } from './json-file';
import { runPaths } from './layout';
import { takeOwnership, type OwnershipOptions } from './owner';
import type { RunError, RunStatus } from './status';
import { readStatus } from './status-file';

/** Before a trainer is started again: state `starting` from now on, so that followers do not take the old end for the new
 *  one, and no message of the past is waiting.
 *  @throws UserError RunInUse. */
export async function prepareRestart(runDirectory: string, options: OwnershipOptions = {}): Promise<void> {
  await changeStatus(runDirectory, options, async (status, fileSystem) => {
    await clearControls(runDirectory, fileSystem);
    return { ...status, state: 'starting', phase: null, progress: null, ended: null, etaSeconds: null, error: null };
  });
}

/** After a trainer was killed or did not start: says so in place of it.
 *  @throws UserError RunInUse while it lives. */
export async function recordEnd(
  runDirectory: string,
  state: 'stopped' | 'failed',
  error: RunError | null,
  options: OwnershipOptions = {},
): Promise<void> {
  await changeStatus(runDirectory, options, (status, _, now) =>
    Promise.resolve({ ...status, state, phase: null, progress: null, ended: now, etaSeconds: null, error }),
  );
}

async function changeStatus(
  runDirectory: string,
  options: OwnershipOptions,
  change: (status: RunStatus, fileSystem: FileSystem, now: number) => Promise<RunStatus>,
): Promise<void> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const now = (options.now ?? Date.now)();
  const ownership = await takeOwnership(runDirectory, options);
  try {
    const status = await readStatus(runDirectory);
    if (status === null) throw new UserError('NotARun', `${runDirectory}: not a run directory`);
    const changed = await change(status, fileSystem, now);
    await writeFileAtomic(fileSystem, runPaths(runDirectory).status, jsonText({ ...changed, heartbeat: now }));
  } finally {
    await ownership.release();
  }
}
