// A file that one process has: made exclusively, naming its process so that others can tell whether it still lives, and replaced
// only when it provably does not.
//
// Replacing a dead holder has a race: two processes find it dead, one replaces it, the other would then remove a live holder.
// So whoever wants to replace a holder must first create `<name>-<id of that holder>.next` exclusively, which only one can. A
// claimant that dies halfway is itself a holder to be replaced, by the same rule.
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import { writeFile, type FileSystem } from '../formats/file-system';
import { jsonText, readJson } from './json-file';
import type { ProcessIdentity } from './process-identity';

export interface Owner extends ProcessIdentity {
  /** Random; tells two owners apart that share a pid. */
  readonly id: string;
  readonly time: number;
}

export interface ExclusiveOptions {
  readonly fileSystem: FileSystem;
  /** Resolves when the holder is dead and may be replaced, throws otherwise. */
  readonly requireDead: (holder: Owner) => Promise<void>;
}

/** Makes `owner` the holder of `file` (a .json).
 *  @throws what `requireDead` throws */
export async function takeFile(file: string, owner: Owner, options: ExclusiveOptions): Promise<void> {
  const { fileSystem, requireDead } = options;
  const temporary = hidden(file, owner.id, 'tmp');
  await writeFile(fileSystem, temporary, jsonText(owner), { exclusive: true, sync: true });
  try {
    for (;;) {
      if (await linkExclusive(fileSystem, temporary, file)) break;
      const current = await readHolder(file);
      if (current === null) continue;
      await requireDead(current);
      if (await replace(file, current, temporary, options)) break;
    }
  } finally {
    await fileSystem.unlink(temporary).catch(ignoreMissing);
  }
}

/** Removes `file` if it is still this holder's. */
export async function releaseFile(file: string, owner: Owner, fileSystem: FileSystem): Promise<void> {
  const current = await readHolder(file);
  if (current?.id === owner.id) await fileSystem.unlink(file).catch(ignoreMissing);
}

/** The holder, or null where there is none. */
export async function readHolder(file: string): Promise<Owner | null> {
  try {
    const value = await readJson(file);
    return value === undefined ? null : parseOwner(value);
  } catch (error) {
    if (error instanceof UserError) return UNREADABLE;
    throw error;
  }
}

/** Stands for a file that a power failure has emptied: its process cannot be looked at. */
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

/** Puts `temporary` in place of the dead `holder`; false when somebody else was faster and all must be looked at again. */
async function replace(
  file: string,
  holder: Owner,
  temporary: string,
  { fileSystem, requireDead }: ExclusiveOptions,
): Promise<boolean> {
  const claims: string[] = [];
  for (let dead = holder; ;) {
    const claim = hidden(file, dead.id, 'next');
    claims.push(claim);
    if (await linkExclusive(fileSystem, temporary, claim)) break;
    const claimant = await readHolder(claim);
    if (claimant === null) return false;
    await requireDead(claimant);
    dead = claimant;
  }
  // Claims are removed only after the file was replaced, so whoever claims the same holder later finds another one here.
  const replaced = (await readHolder(file))?.id === holder.id;
  if (replaced) await fileSystem.rename(temporary, file);
  for (const claim of replaced ? claims : claims.slice(-1)) await fileSystem.unlink(claim).catch(ignoreMissing);
  return replaced;
}

/** `.owner-<id>.tmp` beside `owner.json`. */
function hidden(file: string, id: string, ending: 'tmp' | 'next'): string {
  return path.join(path.dirname(file), `.${path.basename(file, '.json')}-${id}.${ending}`);
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
