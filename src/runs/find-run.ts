// The run that a user means: a path, a run's name, the unique beginning of one (with or without its date), or `latest`.
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import { runPaths } from './layout';

/** @returns the absolute run directory.
 *  @throws UserError NoSuchRun, AmbiguousRun. */
export function findRun(text: string, runsFolder: string): string {
  if (isRun(text)) return path.resolve(text);
  const names = runNames(runsFolder);
  const latest = names.at(-1);
  if (text === 'latest') {
    if (latest !== undefined) return path.join(runsFolder, latest);
    throw new UserError('NoSuchRun', `no runs in ${runsFolder}`, { hint: 'Start one: lrqat train FILE' });
  }
  if (names.includes(text)) return path.join(runsFolder, text);
  const byBeginning = names.filter((name) => name.startsWith(text));
  const matches = byBeginning.length > 0 ? byBeginning : names.filter((name) => withoutDate(name).startsWith(text));
  const match = matches.at(-1);
  if (match !== undefined && matches.length === 1) return path.join(runsFolder, match);
  if (matches.length > 1) {
    throw new UserError('AmbiguousRun', `"${text}" fits ${String(matches.length)} runs: ${some(matches)}`, {
      hint: 'Give more of the name.',
    });
  }
  if (existsSync(text)) {
    throw new UserError('NoSuchRun', `${text}: not a run directory (status.json is missing)`);
  }
  throw new UserError('NoSuchRun', `no run "${text}" in ${runsFolder}`, {
    hint:
      names.length === 0
        ? 'The folder has no runs; --runs DIR looks in another.'
        : `Runs there: ${some(names)}. --runs DIR looks in another folder.`,
  });
}

function withoutDate(name: string): string {
  return name.replace(/^\d{8}-\d{6}-/, '');
}

function isRun(directory: string): boolean {
  return existsSync(runPaths(directory).status);
}

function runNames(runsFolder: string): string[] {
  try {
    return readdirSync(runsFolder)
      .filter((name) => isRun(path.join(runsFolder, name)))
      .sort();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** The newest few names. */
function some(names: readonly string[]): string {
  const shown = names.slice(-4).reverse();
  return names.length > shown.length ? `${shown.join(', ')}, …` : shown.join(', ');
}
