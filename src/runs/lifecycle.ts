// What others than the trainer do to a run's status, always as its owner for that moment: make it ready for a new trainer,
// and write down the end of a trainer that could not.
import { nodeFileSystem, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { UserError } from '../errors';
import { clearControls } from './control';
import { jsonText } from './json-file';
import { runPaths } from './layout';
import { takeOwnership, type OwnershipOptions } from './owner';
import type { QueuePlace, RunError, RunStatus } from './status';
import { readStatus } from './status-file';

/** Before a trainer is started again: state `starting` from now on, so that followers do not take the old end for the new
 *  one, and no message of the past is waiting.
 *  @throws UserError RunInUse. */
export async function prepareRestart(runDirectory: string, options: OwnershipOptions = {}): Promise<void> {
  await changeStatus(runDirectory, options, async (status, fileSystem) => {
    await clearControls(runDirectory, fileSystem);
    return { ...restarted(status), queue: null };
  });
}

function restarted(status: RunStatus): RunStatus {
  return { ...status, state: 'starting', phase: null, progress: null, ended: null, etaSeconds: null, error: null };
}

/** A change of state that holds only while the run is in the state it was found in.
 *  @returns false when somebody else was faster: another state by now, or an owner */
async function changeIf(
  runDirectory: string,
  isStill: (status: RunStatus) => boolean,
  change: (status: RunStatus, now: number) => RunStatus,
  options: OwnershipOptions,
): Promise<boolean> {
  let changed = false;
  try {
    await changeStatus(runDirectory, options, async (status, fileSystem, now) => {
      if (!isStill(status)) return status;
      changed = true;
      await clearControls(runDirectory, fileSystem);
      return change(status, now);
    });
  } catch (error) {
    if (error instanceof UserError && (error.code === 'RunInUse' || error.code === 'NotARun')) return false;
    throw error;
  }
  return changed;
}

/** From `queued` to `starting`, holding a slot; false when the run waits no more. */
export function startQueued(runDirectory: string, place: QueuePlace, options: OwnershipOptions = {}): Promise<boolean> {
  const isStill = ({ state }: RunStatus): boolean => state === 'queued';
  return changeIf(runDirectory, isStill, (status) => ({ ...restarted(status), queue: place }), options);
}

/** Into the queue: a run that has ended, or one whose start from `slot` came to nothing. */
export function requeue(
  runDirectory: string,
  device: string,
  slot: string | null = null,
  options: OwnershipOptions = {},
): Promise<boolean> {
  const isStill = ({ state, queue }: RunStatus): boolean =>
    slot === null ? state !== 'queued' && state !== 'finished' : state === 'starting' && queue?.slot === slot;
  const queued = (status: RunStatus): RunStatus => ({
    ...restarted(status),
    state: 'queued',
    queue: { device, slot: null },
  });
  return changeIf(runDirectory, isStill, queued, options);
}

/** Out of the queue: `stopped`, to be resumed at will; false when the run does not wait (any more). */
export function dequeue(runDirectory: string, options: OwnershipOptions = {}): Promise<boolean> {
  const isStill = ({ state }: RunStatus): boolean => state === 'queued';
  const stopped = (status: RunStatus, now: number): RunStatus => ({
    ...restarted(status),
    state: 'stopped',
    ended: now,
    queue: null,
  });
  return changeIf(runDirectory, isStill, stopped, options);
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
