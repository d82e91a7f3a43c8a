// One look at a run for lists, and how to see cheaply that it is worth another look.
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { systemErrorCode } from '../errors';
import { runPaths } from './layout';
import { readSummary, type RunSummary } from './list-runs';
import { STATUS_SCHEMA } from './status';

/** Where a run comes from; null where its files do not say. */
export interface RunOrigin {
  /** Absolute, on the machine that made the run. */
  readonly experimentFile: string | null;
  readonly experimentName: string | null;
  /** Of a run of a sweep what tells it from the others: `w2-rank8`. */
  readonly combination?: string;
}

export interface ListedRun extends RunSummary {
  readonly kind: 'run';
  readonly origin: RunOrigin;
}

/** A folder that looks like a run and cannot be read as one: half copied, damaged, or of a newer version. */
export interface BrokenRun {
  readonly kind: 'broken';
  readonly name: string;
  readonly directory: string;
  readonly reason: string;
}

export type RunEntry = ListedRun | BrokenRun;

/** null: the folder is no run. `origin`: as read before, because a run does not change where it comes from. */
export function lookAtRun(directory: string, now: number, origin?: RunOrigin): RunEntry | null {
  try {
    const summary = readSummary(directory, now);
    if (summary !== null) return { kind: 'run', ...summary, origin: origin ?? readOrigin(directory) };
    const reason = whyUnreadable(directory);
    return reason === null ? null : { kind: 'broken', name: path.basename(directory), directory, reason };
  } catch (error) {
    const reason = `cannot be read (${systemErrorCode(error) ?? String(error)})`;
    return { kind: 'broken', name: path.basename(directory), directory, reason };
  }
}

function readOrigin(directory: string): RunOrigin {
  const paths = runPaths(directory);
  const { experimentFile, sweep } = fieldsOf(paths.provenance);
  const combination = typeof sweep === 'object' && sweep !== null && 'name' in sweep ? sweep.name : undefined;
  const { name } = fieldsOf(paths.experiment);
  return {
    experimentFile: typeof experimentFile === 'string' ? experimentFile : null,
    experimentName: typeof name === 'string' && name !== '' ? name : null,
    ...(typeof combination === 'string' ? { combination } : {}),
  };
}

/** A sentence about a folder with files of a run but no status that this version understands; null: it has none. */
function whyUnreadable(directory: string): string | null {
  const paths = runPaths(directory);
  const status = read(paths.status);
  if (status === null) {
    const others = [paths.experiment, paths.metrics, paths.provenance].filter((file) => read(file) !== null);
    // Between the claim of its name and its first status a new run has its experiment only.
    const isYoung = (statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0) > Date.now() - 5_000;
    return others.length === 0 || isYoung ? null : 'status.json is missing: the folder was copied or deleted in part';
  }
  const { schema, state } = fieldsOf(paths.status);
  if (typeof schema === 'number' && schema > STATUS_SCHEMA) {
    return `status.json has schema ${String(schema)}, newer than this version of LR-QAT Studio reads (${String(STATUS_SCHEMA)})`;
  }
  if (state !== undefined)
    return `status.json has the state ${JSON.stringify(state)}, which this version does not know`;
  return 'status.json is damaged';
}

function fieldsOf(file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(read(file) ?? '');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** null: there is no such file. */
function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR') return null;
    throw error;
  }
}

/** Changes whenever what a list shows of a run may have changed, as far as its files tell: their times and sizes. */
export function runSignature(directory: string): string {
  const { status, notes, result } = runPaths(directory);
  return [status, notes, result]
    .map((file) => {
      const stat = statSync(file, { throwIfNoEntry: false });
      return stat === undefined ? '-' : `${String(stat.mtimeMs)}/${String(stat.size)}/${String(stat.ino)}`;
    })
    .join(' ');
}
