// A run as a whole, read once: for comparisons and reports.
import path from 'node:path';
import { effectiveEvents } from './event-log';
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

/** @throws UserError NotARun, DamagedFile */
export async function readRun(directory: string): Promise<WholeRun> {
  const { status, state, events } = await new RunReader(directory).poll();
  const [experiment, notes, result] = await Promise.all([
    readJson(runPaths(directory).experiment),
    readNotes(directory),
    readResult(directory),
  ]);
  return { name: path.basename(directory), notes, status, state, experiment, result, events: effectiveEvents(events) };
}
