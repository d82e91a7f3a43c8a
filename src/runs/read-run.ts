// A run as a whole, read once: for comparisons and reports.
import path from 'node:path';
import { EventLog } from './event-log';
import type { MetricsEvent } from './events';
import { readJson } from './json-file';
import { runPaths } from './layout';
import { readNotes, type RunNotes } from './notes';
import { readResult, type RunResult } from './result';
import { RunReader } from './run-reader';
import type { DerivedState, RunStatus } from './status';

export interface WholeRun {
  /** Of the run's folder. */
  readonly name: string;
  readonly notes: RunNotes;
  readonly status: RunStatus;
  readonly state: DerivedState;
  /** experiment.json; undefined: there is none. */
  readonly experiment: unknown;
  readonly result: RunResult | null;
  /** Those that count: after resumes. */
  readonly events: readonly MetricsEvent[];
}

/** Bytes to read in one go, so that others have their turn while a long metrics file is read. */
const LIMIT = 4 * 1024 * 1024;

/** @throws UserError NotARun, DamagedFile */
export async function readRun(directory: string): Promise<WholeRun> {
  const reader = new RunReader(directory, { limit: LIMIT });
  const log = new EventLog<MetricsEvent>();
  let update = await reader.poll();
  for (;;) {
    if (update.reset) log.clear();
    for (const event of update.events) log.add(event);
    if (update.bytes.done >= update.bytes.total) break;
    update = await reader.poll();
  }
  const { status, state } = update;
  const [experiment, notes, result] = await Promise.all([
    readJson(runPaths(directory).experiment),
    readNotes(directory),
    readResult(directory),
  ]);
  return { name: path.basename(directory), notes, status, state, experiment, result, events: log.events };
}
