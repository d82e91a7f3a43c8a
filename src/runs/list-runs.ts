// All runs of a folder, quickly: a thousand runs are a few thousand small files. They are read with synchronous calls,
// which for files of a kilobyte cost a tenth of what asynchronous ones do, in slices between which others get their turn.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { systemErrorCode } from '../errors';
import { derivedState } from './derived-state';
import { runPaths } from './layout';
import { parseNotes, type RunNotes } from './notes';
import { parseOwner } from './owner';
import { parseResult, type RunResult } from './result';
import { needsOwner, type DerivedState, type RunStatus } from './status';
import { parseStatus } from './status-file';

export interface RunSummary {
  /** Name of the run's folder. */
  readonly name: string;
  readonly directory: string;
  readonly status: RunStatus;
  readonly state: DerivedState;
  readonly notes: RunNotes;
  /** Of a finished run. */
  readonly result: RunResult | null;
}

/** Milliseconds of reading between turns. */
const SLICE = 10;

/** Runs of a folder, oldest first (names begin with the time). Folders that are no runs are passed over; a folder that does
 *  not exist holds none. */
export async function listRuns(runsFolder: string, now: () => number = Date.now): Promise<RunSummary[]> {
  const runs: RunSummary[] = [];
  let sliceEnd = performance.now() + SLICE;
  for (const entry of namesIn(runsFolder)) {
    const run = readSummary(path.join(runsFolder, entry), now());
    if (run !== null) runs.push(run);
    if (performance.now() < sliceEnd) continue;
    await turn();
    sliceEnd = performance.now() + SLICE;
  }
  return runs;
}

/** null: not a run directory. */
export function readSummary(directory: string, now: number): RunSummary | null {
  const summary = look(directory, now);
  return summary?.state === 'crashed' ? look(directory, now) : summary;
}

function look(directory: string, now: number): RunSummary | null {
  const files = new Set(namesIn(directory));
  const json = (file: string): unknown => (files.has(path.basename(file)) ? readJsonNow(file) : undefined);
  const paths = runPaths(directory);
  const status = parseStatus(json(paths.status));
  if (status === null) return null;
  const owner = needsOwner(status.state) && files.has('owner.json') ? parseOwner(json(paths.owner)) : null;
  return {
    name: path.basename(directory),
    directory,
    status,
    state: derivedState(status, owner, now),
    notes: parseNotes(json(paths.notes)),
    result: parseResult(json(paths.result)),
  };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

/** undefined: gone, or damaged; one bad file must not hide the other runs. */
function readJsonNow(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
