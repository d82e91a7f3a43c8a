// What a list showed of runs that have ended, kept in one file: whoever looks at a folder of a thousand runs again reads that file
// and the times of the runs' files instead of four files a run. An entry counts only while those times and sizes are the same.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { nodeFileSystem, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { isRecord } from './is-record';
import { parseNotes } from './notes';
import { parseResult } from './result';
import type { ListedRun, RunEntry, RunOrigin } from './run-folder';
import { isEnded, needsOwner } from './status';
import { parseStatus } from './status-file';

export interface RunIndexPlace {
  /** Absolute; the folder need not exist. */
  readonly file: string;
  /** Of the program that reads the runs: what another version has understood of them does not count. */
  readonly version: string;
}

export interface IndexedRun {
  readonly signature: string;
  readonly entry: ListedRun;
}

/** By run directory; empty where there is no such file, or it is damaged: it is only ever a shortcut. */
export async function readRunIndex({ file, version }: RunIndexPlace): Promise<Map<string, IndexedRun>> {
  const index = new Map<string, IndexedRun>();
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return index;
  }
  if (!isRecord(value) || value.version !== version || !Array.isArray(value.runs)) return index;
  for (const run of value.runs as readonly unknown[]) {
    const parsed = parseIndexed(run);
    if (parsed !== null) index.set(parsed.entry.directory, parsed);
  }
  return index;
}

/** Keeps those of `runs` that have ended by their own word; all others are looked at anyway.
 *  @throws where the file cannot be written */
export async function writeRunIndex(
  { file, version }: RunIndexPlace,
  runs: Iterable<{ readonly signature: string; readonly entry: RunEntry | null }>,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<void> {
  const kept = [...runs].flatMap(({ signature, entry }) =>
    entry !== null && isIndexed(entry) ? [{ ...fieldsOf(entry), signature }] : [],
  );
  await fileSystem.mkdir(path.dirname(file));
  await writeFileAtomic(fileSystem, file, JSON.stringify({ version, runs: kept }));
}

export function isIndexed(entry: RunEntry): entry is ListedRun {
  return entry.kind === 'run' && isEnded(entry.state) && !needsOwner(entry.status.state);
}

function fieldsOf({ directory, status, notes, result, origin }: ListedRun): Record<string, unknown> {
  return { directory, status, notes, result, origin };
}

function parseIndexed(value: unknown): IndexedRun | null {
  if (!isRecord(value)) return null;
  const { directory, signature } = value;
  const status = parseStatus(value.status);
  if (typeof directory !== 'string' || typeof signature !== 'string') return null;
  if (status === null || !isEnded(status.state) || !isRecord(value.origin)) return null;
  const { experimentFile, experimentName, combination } = value.origin;
  const origin: RunOrigin = {
    experimentFile: typeof experimentFile === 'string' ? experimentFile : null,
    experimentName: typeof experimentName === 'string' ? experimentName : null,
    ...(typeof combination === 'string' ? { combination } : {}),
  };
  const entry: ListedRun = {
    ...{ kind: 'run', name: path.basename(directory), directory, status, state: status.state, origin },
    notes: parseNotes(value.notes),
    result: parseResult(value.result),
  };
  return { signature, entry };
}
