// What every command is given: where it writes and from where it was called.
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../errors';
import { runsFolderAt } from '../runs';
import type { Terminal } from './terminal';

export interface Context {
  /** Results. */
  readonly output: Terminal;
  /** What is said beside them: warnings, notes, errors. */
  readonly messages: Terminal;
  readonly stream: NodeJS.WriteStream;
  readonly folder: string;
  /** The command line, for provenance. */
  readonly command: readonly string[];
}

export interface RunsOption {
  readonly runs?: string;
}

/** Folder in which runs are looked up by name. */
export function runsFolderOf(context: Context, options: RunsOption): string {
  if (options.runs === undefined) return runsFolderAt(context.folder);
  const folder = path.resolve(context.folder, options.runs);
  if (existsSync(folder) && !statSync(folder).isDirectory()) {
    throw new UserError('RunsOption', `--runs ${options.runs}: is a file, not a folder of runs`);
  }
  return folder;
}

/** A path as short as it can be said from where the user is. */
export function shortPath(context: Context, file: string): string {
  const relative = path.relative(context.folder, file);
  return relative === '' ? '.' : relative.length < file.length ? relative : file;
}
