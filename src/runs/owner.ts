// owner.json: the one process that may write a run. It is created exclusively, names its process so that others can tell
// whether it still lives, and is replaced only when it provably does not.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors';
import { nodeFileSystem, type FileSystem } from '../formats/file-system';
import { readHolder, releaseFile, takeFile, type Owner } from './exclusive-file';
import { runPaths } from './layout';
import { currentProcess, livenessOf, type Liveness } from './process-identity';
import { readStatus } from './status-file';
import { HEARTBEAT_INTERVAL, isEnded, STALE_AFTER } from './status';

export { parseOwner, type Owner } from './exclusive-file';

export interface OwnershipOptions {
  readonly fileSystem?: FileSystem;
  readonly now?: () => number;
  /** How long to watch the heartbeat of an owner on another host before it is given up (milliseconds). */
  readonly watch?: number;
  /** How long an owner that has written its end may take to leave (milliseconds). */
  readonly leaving?: number;
}

export interface Ownership {
  readonly owner: Owner;
  /** Removes owner.json if it is still ours. */
  release(): Promise<void>;
}

/** The owner, or null where there is none. Of one that cannot be read the heartbeat decides whether it lives. */
export function readOwner(runDirectory: string): Promise<Owner | null> {
  return readHolder(runPaths(runDirectory).owner);
}

/** Is the owner alive? One that cannot be looked at from here is judged by the run's heartbeat. */
export function ownerLiveness(owner: Owner, heartbeat: number, now: number): Liveness {
  const liveness = livenessOf(owner);
  if (liveness !== 'unknown') return liveness;
  return now - heartbeat <= STALE_AFTER ? 'alive' : 'unknown';
}

interface Patience {
  readonly now: () => number;
  readonly watch: number;
  readonly leaving: number;
}

/** After its last word a trainer frees the engine's memory and its threads: seconds for a large model. */
const LEAVING = 10_000;

/** Makes this process the owner of a run; waits a moment for an owner that has written its end.
 *  @throws UserError RunInUse while another owner lives. */
export async function takeOwnership(runDirectory: string, options: OwnershipOptions = {}): Promise<Ownership> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const now = options.now ?? Date.now;
  const watch = options.watch ?? 2 * HEARTBEAT_INTERVAL + 1_000;
  const patience: Patience = { now, watch, leaving: options.leaving ?? LEAVING };
  const { owner: ownerFile } = runPaths(runDirectory);
  const owner: Owner = { ...currentProcess(), id: randomBytes(8).toString('hex'), time: now() };
  await takeFile(ownerFile, owner, {
    fileSystem,
    requireDead: (current) => requireDead(runDirectory, current, patience),
  });
  return { owner, release: () => releaseFile(ownerFile, owner, fileSystem) };
}

/** Throws RunInUse unless the owner is dead, leaves or, on another host, is silent. */
async function requireDead(runDirectory: string, owner: Owner, { now, watch, leaving }: Patience): Promise<void> {
  const status = await readStatus(runDirectory);
  const liveness = ownerLiveness(owner, status?.heartbeat ?? 0, now());
  if (liveness === 'dead') return;
  if (liveness === 'alive' && status !== null && isEnded(status.state)) {
    if (await leaves(runDirectory, owner, leaving)) return;
  }
  if (liveness === 'unknown') {
    // Clocks of two hosts may differ by more than the limit: only a heartbeat that stands still proves silence.
    await sleep(watch);
    if ((await readStatus(runDirectory))?.heartbeat === status?.heartbeat) return;
  }
  throw new UserError(
    'RunInUse',
    `${path.basename(runDirectory)} is in use by process ${String(owner.pid)} on ${owner.host}`,
    { hint: `Stop it first (lrqat stop ${path.basename(runDirectory)}) or wait until it has ended.` },
  );
}

/** Waits for an owner whose run has ended: true once it is gone. Whoever is only about to become the owner is not leaving. */
async function leaves(runDirectory: string, owner: Owner, limit: number): Promise<boolean> {
  for (const end = performance.now() + limit; ;) {
    const current = await readOwner(runDirectory);
    if (current === null || livenessOf(owner) === 'dead') return true;
    if (current.id !== owner.id || performance.now() >= end) return false;
    await sleep(50);
  }
}
