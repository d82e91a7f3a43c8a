// Where queued runs stand in the queue of their folder. Pure.
import path from 'node:path';
import { isEnded, orderOf, type ListedRun, type RunEntry } from '../../runs';

export interface Place {
  /** Counted from 1. */
  readonly position: number;
  /** Runs that wait in the same folder. */
  readonly of: number;
}

/** Queued runs by their runs folder. */
export function queuedByFolder(entries: readonly RunEntry[]): Map<string, ListedRun[]> {
  const folders = new Map<string, ListedRun[]>();
  for (const entry of entries) {
    if (entry.kind !== 'run' || entry.state !== 'queued') continue;
    const folder = path.dirname(entry.directory);
    const runs = folders.get(folder);
    if (runs === undefined) folders.set(folder, [entry]);
    else runs.push(entry);
  }
  return folders;
}

/** Queued runs of a folder in the order in which they will start.
 *  @param order as its queue.json has it */
export function inOrder(runs: readonly ListedRun[], order: readonly string[]): ListedRun[] {
  const byName = new Map(runs.map((run) => [run.name, run]));
  return orderOf(order, [...byName.keys()]).flatMap((name) => byName.get(name) ?? []);
}

/** @param waiting folder by folder, in order */
export function placesOf(waiting: readonly ListedRun[]): Map<string, Place> {
  const counts = new Map<string, number>();
  for (const { directory } of waiting) {
    const folder = path.dirname(directory);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  const places = new Map<string, Place>();
  const reached = new Map<string, number>();
  for (const { directory } of waiting) {
    const folder = path.dirname(directory);
    const position = (reached.get(folder) ?? 0) + 1;
    reached.set(folder, position);
    places.set(directory, { position, of: counts.get(folder) ?? position });
  }
  return places;
}

/** Runs of a folder that a trainer works on. */
export function activeIn(entries: readonly RunEntry[], folder: string): ListedRun[] {
  return entries.flatMap((entry) =>
    entry.kind === 'run' &&
    entry.state !== 'queued' &&
    !isEnded(entry.state) &&
    path.dirname(entry.directory) === folder
      ? [entry]
      : [],
  );
}

/** There may be room for one that waits: as far as the runs' own files tell, without looking for what they have been given. */
export function mayStart(waiting: readonly ListedRun[], active: readonly ListedRun[], parallel: number): boolean {
  return waiting.some(({ status }) => {
    const device = status.queue?.device;
    const used = active.filter((run) => run.status.queue === null || run.status.queue.device === device);
    return used.length < parallel;
  });
}
