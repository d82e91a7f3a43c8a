// Follows a run until it has ended, or until its trainer has without a word.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import {
  isEnded,
  readState,
  recordEnd,
  type RunReader,
  runPaths,
  type DerivedState,
  type RunStatus,
  type RunUpdate,
} from '../runs';
import { UserError } from '../errors';
import type { RunView } from './views';

/** A trainer that this command has started. */
export interface Trainer {
  /** Resolves to how it ended: `exit code 1`, `SIGKILL`. */
  readonly ended: Promise<string>;
}

export interface FollowEnd {
  readonly state: DerivedState;
  readonly status: RunStatus;
}

/** Time for the file system to show what a trainer wrote last (milliseconds). */
const AFTERMATH = 300;

/** @param reader may have read a part of the run already: the view is given what is new to it */
export async function followRun(
  reader: RunReader,
  view: RunView,
  trainer: Trainer | null,
  signal?: AbortSignal,
): Promise<FollowEnd> {
  const runDirectory = reader.paths.directory;
  const over = new AbortController();
  const how = trainer?.ended.then(async (text) => {
    await new Promise((resolve) => setTimeout(resolve, AFTERMATH));
    over.abort();
    return text;
  });
  const signals = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  let last: RunUpdate;
  try {
    for await (const update of reader.follow(signals)) view.update(update);
    last = await reader.poll();
  } catch (error) {
    if (existsSync(runDirectory)) throw error;
    throw new UserError('RunRemoved', `${runDirectory} was removed or renamed while it was trained`, {
      hint: 'Its trainer ends within seconds. A renamed run can be resumed from its last checkpoint under the new name.',
      cause: error,
    });
  }
  view.update(last);
  if (isEnded(last.state) || how === undefined || signal?.aborted === true) return last;
  // The trainer has ended and the run does not say so: it never came to own it.
  await recordMissingStart(runDirectory, await how);
  return readState(runDirectory);
}

async function recordMissingStart(runDirectory: string, how: string): Promise<void> {
  const log = await lastLogLines(runDirectory, 5);
  const error = {
    code: 'TrainerFailed',
    message: `the trainer ended with ${how} before it could work on the run${log === '' ? '' : `:\n${log}`}`,
    hint: `All it said is in ${runPaths(runDirectory).log}; lrqat doctor checks the engine.`,
  };
  try {
    await recordEnd(runDirectory, 'failed', error);
  } catch (reason) {
    // Another trainer has it: then that one's end counts.
    if (!(reason instanceof UserError)) throw reason;
  }
}

export async function lastLogLines(runDirectory: string, count: number): Promise<string> {
  const text = await readFile(runPaths(runDirectory).log, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
