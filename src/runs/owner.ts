// owner.json: the one process that may write a run. It is created exclusively, names its process so that others can tell
// whether it still lives, and is replaced only when it provably does not.
//
// Replacing a dead owner has a race: two processes find it dead, one replaces it, the other would then remove a live owner.
// So whoever wants to replace an owner must first create `owner-<id of that owner>.next` exclusively, which only one can. A
// claimant that dies halfway is itself an owner to be replaced, by the same rule.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemErrorCode, UserError } from '../errors';
import { nodeFileSystem, writeFile, type FileSystem } from '../formats/file-system';
import { jsonText, readJson } from './json-file';
import { runPaths } from './layout';
import { currentProcess, livenessOf, type Liveness, type ProcessIdentity } from './process-identity';
import { readStatus } from './status-file';
import { HEARTBEAT_INTERVAL, STALE_AFTER } from './status';

export interface Owner extends ProcessIdentity {
  /** Random; tells two owners apart that share a pid. */
  readonly id: string;
  readonly time: number;
}

export interface OwnershipOptions {
  readonly fileSystem?: FileSystem;
  readonly now?: () => number;
  /** How long to watch the heartbeat of an owner on another host before it is given up (milliseconds). */
  readonly watch?: number;
}

export interface Ownership {
  readonly owner: Owner;
  /** Removes owner.json if it is still ours. */
  release(): Promise<void>;
}

/** The owner, or null where there is none. */
export function readOwner(runDirectory: string): Promise<Owner | null> {
  return readOwnerFile(runPaths(runDirectory).owner);
}

async function readOwnerFile(file: string): Promise<Owner | null> {
  try {
    const value = await readJson(file);
    return value === undefined ? null : parseOwner(value);
  } catch (error) {
    if (error instanceof UserError) return UNREADABLE;
    throw error;
  }
}

/** Stands for an owner.json that a power failure has emptied: its process cannot be looked at, so the heartbeat decides. */
const UNREADABLE: Owner = {
  host: 'an unknown host',
  bootId: null,
  pidNamespace: null,
  pid: 0,
  processStart: null,
  id: 'unreadable',
  time: 0,
};

export function parseOwner(value: unknown): Owner {
  if (typeof value !== 'object' || value === null) return UNREADABLE;
  const { host, bootId, pidNamespace, pid, processStart, id, time } = value as Record<string, unknown>;
  if (typeof host !== 'string' || typeof pid !== 'number' || typeof id !== 'string') return UNREADABLE;
  // The id becomes part of a file name.
  if (!/^[0-9a-f]{1,64}$/.test(id)) return UNREADABLE;
  const text = (field: unknown): string | null => (typeof field === 'string' ? field : null);
  return {
    host,
    bootId: text(bootId),
    pidNamespace: text(pidNamespace),
    pid,
    processStart: text(processStart),
    id,
    time: typeof time === 'number' ? time : 0,
  };
}

/** Is the owner alive? One that cannot be looked at from here is judged by the run's heartbeat. */
export function ownerLiveness(owner: Owner, heartbeat: number, now: number): Liveness {
  const liveness = livenessOf(owner);
  if (liveness !== 'unknown') return liveness;
  return now - heartbeat <= STALE_AFTER ? 'alive' : 'unknown';
}

/** Makes this process the owner of a run.
 *  @throws UserError RunInUse while another owner lives. */
export async function takeOwnership(runDirectory: string, options: OwnershipOptions = {}): Promise<Ownership> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const now = options.now ?? Date.now;
  const watch = options.watch ?? 2 * HEARTBEAT_INTERVAL + 1_000;
  const { owner: ownerFile } = runPaths(runDirectory);
  const owner: Owner = { ...currentProcess(), id: randomBytes(8).toString('hex'), time: now() };
  const temporary = path.join(runDirectory, `.owner-${owner.id}.tmp`);
  await writeFile(fileSystem, temporary, jsonText(owner), { exclusive: true, sync: true });
  try {
    for (;;) {
      if (await linkExclusive(fileSystem, temporary, ownerFile)) break;
      const current = await readOwner(runDirectory);
      if (current === null) continue;
      await requireDead(runDirectory, current, now, watch);
      if (await replace(fileSystem, runDirectory, current, temporary, now, watch)) break;
    }
  } finally {
    await fileSystem.unlink(temporary).catch(ignoreMissing);
  }
  return {
    owner,
    release: async () => {
      const current = await readOwner(runDirectory);
      if (current?.id === owner.id) await fileSystem.unlink(ownerFile).catch(ignoreMissing);
    },
  };
}

/** Throws RunInUse unless the owner is dead or, on another host, silent. */
async function requireDead(runDirectory: string, owner: Owner, now: () => number, watch: number): Promise<void> {
  const status = await readStatus(runDirectory);
  const liveness = ownerLiveness(owner, status?.heartbeat ?? 0, now());
  if (liveness === 'dead') return;
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

/** Puts `temporary` in place of the dead `owner`; false when somebody else was faster and all must be looked at again. */
async function replace(
  fileSystem: FileSystem,
  runDirectory: string,
  owner: Owner,
  temporary: string,
  now: () => number,
  watch: number,
): Promise<boolean> {
  const claims: string[] = [];
  for (let dead = owner; ;) {
    const claim = path.join(runDirectory, `.owner-${dead.id}.next`);
    claims.push(claim);
    if (await linkExclusive(fileSystem, temporary, claim)) break;
    const claimant = await readOwnerFile(claim);
    if (claimant === null) return false;
    await requireDead(runDirectory, claimant, now, watch);
    dead = claimant;
  }
  const { owner: ownerFile } = runPaths(runDirectory);
  // Claims are removed only after owner.json was replaced, so whoever claims the same owner later finds another one here.
  const replaced = (await readOwnerFile(ownerFile))?.id === owner.id;
  if (replaced) await fileSystem.rename(temporary, ownerFile);
  for (const claim of replaced ? claims : claims.slice(-1)) await fileSystem.unlink(claim).catch(ignoreMissing);
  return replaced;
}

/** Gives `from` a second name that did not exist; false when it did. */
async function linkExclusive(fileSystem: FileSystem, from: string, to: string): Promise<boolean> {
  try {
    await fileSystem.link(from, to);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
  }
  // File systems without hard links: an exclusive copy, whose contents a reader may for a moment find incomplete.
  try {
    await fileSystem.copyExclusive(from, to);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

function ignoreMissing(error: unknown): void {
  if (systemErrorCode(error) !== 'ENOENT') throw error;
}
