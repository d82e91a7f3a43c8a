// <runs>/.queue: what a queue is beside the runs that wait in it (docs/queue.md).
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors';
import { nodeFileSystem, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { releaseFile, takeFile, type Owner } from './exclusive-file';
import { jsonText, readJson } from './json-file';
import { currentProcess, livenessOf } from './process-identity';

export interface QueuePaths {
  readonly folder: string;
  /** Order and number of runs at a time. */
  readonly file: string;
  /** Held for milliseconds by whoever changes order or slots. */
  readonly lock: string;
  readonly slots: string;
  /** What the processes print that start queued runs. */
  readonly log: string;
}

export function queuePaths(runsFolder: string): QueuePaths {
  const folder = path.join(path.resolve(runsFolder), '.queue');
  const at = (name: string): string => path.join(folder, name);
  return { folder, file: at('queue.json'), lock: at('lock.json'), slots: at('slots'), log: at('log.txt') };
}

/** Something has been queued in this folder at some time: cheap enough to ask whenever runs are looked at. */
export function hasQueue(runsFolder: string): boolean {
  return existsSync(queuePaths(runsFolder).file);
}

export const QUEUE_SCHEMA = 1;
export const MAX_PARALLEL = 64;

export interface QueueFile {
  readonly schema: number;
  /** Runs at a time on each device of a host. */
  readonly parallel: number;
  /** Names of waiting runs. */
  readonly order: readonly string[];
}

const EMPTY: QueueFile = { schema: QUEUE_SCHEMA, parallel: 1, order: [] };

/** A file that is not there or damaged is an empty one: the runs themselves say that they wait. */
export async function readQueueFile(runsFolder: string): Promise<QueueFile> {
  const value = await readJson(queuePaths(runsFolder).file).catch((error: unknown) => {
    if (error instanceof UserError) return undefined;
    throw error;
  });
  if (typeof value !== 'object' || value === null) return EMPTY;
  const { parallel, order } = value as Record<string, unknown>;
  return {
    schema: QUEUE_SCHEMA,
    parallel: isParallel(parallel) ? parallel : EMPTY.parallel,
    order: Array.isArray(order) ? order.filter((name) => typeof name === 'string') : [],
  };
}

export function isParallel(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_PARALLEL;
}

/** Changes the file. Only with the lock. */
export async function changeQueueFile(
  runsFolder: string,
  change: (before: QueueFile) => Partial<QueueFile>,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<QueueFile> {
  const before = await readQueueFile(runsFolder);
  const after = { ...before, ...change(before) };
  if (JSON.stringify(after) !== JSON.stringify(before) || !hasQueue(runsFolder)) {
    await writeFileAtomic(fileSystem, queuePaths(runsFolder).file, jsonText(after));
  }
  return after;
}

/** A holder that cannot be looked at from here (another host) is taken for dead after so long; its work takes milliseconds. */
const LOCK_STALE_AFTER = 60_000;
const PATIENCE = 30_000;

/** Does something while no other process changes the queue.
 *  @throws UserError QueueBusy when another one has held it for half a minute */
export async function withQueueLock<Result>(runsFolder: string, work: () => Promise<Result>): Promise<Result> {
  const { folder, lock } = queuePaths(runsFolder);
  await nodeFileSystem.mkdir(folder);
  const owner: Owner = { ...currentProcess(), id: randomBytes(8).toString('hex'), time: Date.now() };
  for (const begin = performance.now(); ;) {
    try {
      await takeFile(lock, owner, { fileSystem: nodeFileSystem, requireDead: requireDeadHolder });
      break;
    } catch (error) {
      if (!(error instanceof UserError) || performance.now() - begin > PATIENCE) throw error;
      await sleep(10 + 30 * Math.random());
    }
  }
  try {
    return await work();
  } finally {
    await releaseFile(lock, owner, nodeFileSystem);
  }
}

function requireDeadHolder(holder: Owner): Promise<void> {
  const liveness = livenessOf(holder);
  if (liveness === 'dead' || (liveness === 'unknown' && Date.now() - holder.time > LOCK_STALE_AFTER)) {
    return Promise.resolve();
  }
  return Promise.reject(
    new UserError('QueueBusy', `the queue is being changed by process ${String(holder.pid)} on ${holder.host}`, {
      hint: 'Try again in a moment.',
    }),
  );
}
