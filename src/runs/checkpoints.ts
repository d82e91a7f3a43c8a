// checkpoints/step-<8 digits>/: complete when DONE is there, which is written last. Everything else is the trainer's.
import { readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { systemErrorCode } from '../errors';
import { nodeFileSystem, type FileSystem } from '../formats/file-system';
import { runPaths } from './layout';

export interface Checkpoint {
  readonly step: number;
  readonly directory: string;
  /** DONE is there; a checkpoint without it was cut short and must be ignored. */
  readonly complete: boolean;
}

export const DONE_FILE = 'DONE';
const NAME = /^step-(\d{8,})$/;

export function checkpointDirectory(runDirectory: string, step: number): string {
  return path.join(runPaths(runDirectory).checkpoints, `step-${String(step).padStart(8, '0')}`);
}

/** All checkpoints, complete or not, by step. */
export async function listCheckpoints(runDirectory: string): Promise<Checkpoint[]> {
  const { checkpoints } = runPaths(runDirectory);
  let names: string[];
  try {
    names = await readdir(checkpoints);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
  return names
    .flatMap((name) => {
      const digits = NAME.exec(name)?.[1];
      if (digits === undefined) return [];
      const directory = path.join(checkpoints, name);
      return [{ step: Number(digits), directory, complete: existsSync(path.join(directory, DONE_FILE)) }];
    })
    .sort((one, other) => one.step - other.step);
}

/** The checkpoint to resume from, or null where none was finished. */
export async function latestComplete(runDirectory: string): Promise<Checkpoint | null> {
  return (await listCheckpoints(runDirectory)).filter((checkpoint) => checkpoint.complete).at(-1) ?? null;
}

/** Removes all but the newest `keep` complete checkpoints and that of step `best`; incomplete ones older than the newest
 *  complete one go as well. DONE is removed first, so that a removal cut short leaves nothing that looks complete.
 *  @returns the steps removed. */
export async function pruneCheckpoints(
  runDirectory: string,
  keep: number,
  best: number | null,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<number[]> {
  const all = await listCheckpoints(runDirectory);
  const complete = all.filter((checkpoint) => checkpoint.complete);
  const newest = complete.at(-1);
  if (newest === undefined) return [];
  // The newest is what a resume needs, whatever `keep` says.
  const kept = new Set(complete.slice(-Math.max(1, keep)).map((checkpoint) => checkpoint.step));
  if (best !== null) kept.add(best);
  const removed = all.filter((checkpoint) =>
    checkpoint.complete ? !kept.has(checkpoint.step) : checkpoint.step < newest.step,
  );
  for (const checkpoint of removed) {
    if (checkpoint.complete) await fileSystem.unlink(path.join(checkpoint.directory, DONE_FILE));
    await fileSystem.removeTree(checkpoint.directory);
  }
  return removed.map((checkpoint) => checkpoint.step);
}
