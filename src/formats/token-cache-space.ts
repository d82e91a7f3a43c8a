// Keeps a token cache within bounds: what was used longest ago goes first, what a living process has open never.
import { rmSync } from 'node:fs';
import { readdir, readFile, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { systemErrorCode } from '../errors';

/** Bytes that a cache folder may take. One corpus in use may be larger than that. */
export const TOKEN_CACHE_BYTES = 16 * 2 ** 30;
const DAY = 24 * 3600 * 1000;
/** A mark of a process that cannot be asked (another host) counts for so long. */
const UNKNOWN_USE = 7 * DAY;

/** Says that this process uses the entry `key`, until `release`. */
export interface CacheUse {
  release(): void;
}

/** Marks an entry as used now and in use, by a file beside it: <key>.<random>.use with host and process in it. Without effect
 *  in a folder that is not there or cannot be written; nobody removes anything from such a folder. */
export async function useCacheEntry(folder: string, key: string): Promise<CacheUse> {
  const mark = path.join(folder, `${key}.${randomBytes(6).toString('hex')}.use`);
  const now = new Date();
  try {
    await writeFile(mark, JSON.stringify({ host: os.hostname(), pid: process.pid }));
    await utimes(path.join(folder, `${key}.json`), now, now);
  } catch {
    // Not there, or not to be written.
  }
  // At once: a process that ends right after it must not leave its mark.
  return { release: () => rmSync(mark, { force: true }) };
}

export interface PruneOptions {
  readonly limit?: number;
  /** Milliseconds since 1970. */
  readonly now?: number;
}

/** Removes entries, least recently used first, until the folder holds at most `limit` bytes or only entries in use; and what
 *  killed processes left: marks, and files a day old that belong to no whole entry. Returns the keys removed. A file that
 *  cannot be removed stays: a full cache is no reason for a run to fail. */
export async function pruneTokenCache(
  folder: string,
  { limit = TOKEN_CACHE_BYTES, now = Date.now() }: PruneOptions = {},
): Promise<string[]> {
  const entries = await readEntries(folder, now);
  let bytes = [...entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);
  const removed: string[] = [];
  const oldestFirst = [...entries].sort(([, a], [, b]) => a.lastUsed - b.lastUsed);
  for (const [key, entry] of oldestFirst) {
    const abandoned = !entry.whole && now - entry.lastUsed > DAY;
    if (entry.inUse || (bytes <= limit && !abandoned)) continue;
    // The description first: without it the rest is no entry any more.
    for (const file of entry.files.sort((a, b) => Number(b.endsWith('.json')) - Number(a.endsWith('.json')))) {
      await unlink(file).catch(() => undefined);
    }
    bytes -= entry.bytes;
    removed.push(key);
  }
  return removed;
}

interface Entry {
  readonly files: string[];
  bytes: number;
  /** Of the description, which every use touches; of the newest file where there is none. */
  lastUsed: number;
  whole: boolean;
  inUse: boolean;
}

async function readEntries(folder: string, now: number): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  for (const name of await readdir(folder)) {
    // Temporary names begin with a dot and go on with the name that they are for.
    const key = /^\.?([0-9a-f]{40})\./.exec(name)?.[1];
    if (key === undefined) continue;
    const file = path.join(folder, name);
    const found = await stat(file).catch(() => null);
    if (found === null) continue;
    const entry = entries.get(key) ?? { files: [], bytes: 0, lastUsed: 0, whole: false, inUse: false };
    entries.set(key, entry);
    if (name.endsWith('.use')) {
      if (await isAlive(file, now - found.mtimeMs)) entry.inUse = true;
      else await unlink(file).catch(() => undefined);
      continue;
    }
    entry.files.push(file);
    entry.bytes += found.size;
    if (name === `${key}.json`) {
      entry.whole = true;
      entry.lastUsed = found.mtimeMs;
    } else if (!entry.whole) {
      entry.lastUsed = Math.max(entry.lastUsed, found.mtimeMs);
    }
  }
  return entries;
}

async function isAlive(mark: string, age: number): Promise<boolean> {
  let owner: unknown;
  try {
    owner = JSON.parse(await readFile(mark, 'utf8'));
  } catch {
    // Being written, or cut off.
    return age < DAY;
  }
  const { host, pid } = (owner ?? {}) as { host?: unknown; pid?: unknown };
  if (host !== os.hostname() || typeof pid !== 'number') return age < UNKNOWN_USE;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === 'EPERM';
  }
}
