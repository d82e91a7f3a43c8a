// notes.json: what the user has added to a run. The trainer never writes it.
import { nodeFileSystem, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { jsonText, readJson } from './json-file';
import { runPaths } from './layout';

export interface RunNotes {
  readonly name?: string;
  readonly tags?: readonly string[];
  readonly star?: boolean;
  readonly note?: string;
}

/** Checked notes; keys of a wrong type are left out, because people edit this file by hand. */
export function parseNotes(value: unknown): RunNotes {
  if (typeof value !== 'object' || value === null) return {};
  const { name, tags, star, note } = value as Record<string, unknown>;
  return {
    ...(typeof name === 'string' ? { name } : {}),
    ...(Array.isArray(tags) ? { tags: tags.filter((tag) => typeof tag === 'string') } : {}),
    ...(typeof star === 'boolean' ? { star } : {}),
    ...(typeof note === 'string' ? { note } : {}),
  };
}

/** Empty where there are none, or where the file is damaged: notes are never a reason not to show a run. */
export async function readNotes(runDirectory: string): Promise<RunNotes> {
  return parseNotes(await readJson(runPaths(runDirectory).notes).catch(() => undefined));
}

/** Changes some notes and keeps the rest, keys of other programs included. An empty text, an empty list of tags and a missing
 *  star are not written. */
export async function changeNotes(
  runDirectory: string,
  change: RunNotes,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<RunNotes> {
  const file = runPaths(runDirectory).notes;
  const written: unknown = await readJson(file).catch(() => undefined);
  const merged = { ...(typeof written === 'object' && written !== null ? written : {}), ...change };
  const kept = Object.fromEntries(Object.entries(merged).filter(([, value]) => !isNothing(value)));
  await writeFileAtomic(fileSystem, file, jsonText(kept));
  return parseNotes(kept);
}

function isNothing(value: unknown): boolean {
  return value === '' || value === false || value === undefined || (Array.isArray(value) && value.length === 0);
}
