// The files of a corpus: names and globs → existing files of known kinds, in a fixed order.
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { systemErrorCode, UserError } from '../errors';
import { quote, shorten } from './show-value';

export type CorpusKind = 'text' | 'jsonl' | 'parquet' | 'tokens';

export interface CorpusFile {
  readonly file: string;
  readonly kind: CorpusKind;
  readonly bytes: number;
}

const KINDS: Readonly<Record<string, CorpusKind>> = {
  '.txt': 'text',
  '.text': 'text',
  // WikiText's own names.
  '.raw': 'text',
  '.tokens': 'text',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.parquet': 'parquet',
  '.bin': 'tokens',
};

/** Files in the order of the patterns, those of one pattern by name, each once. A name that exists is that file, whatever
 *  characters it has; otherwise it is a glob. */
export async function corpusFiles(patterns: readonly string[], baseFolder: string): Promise<CorpusFile[]> {
  const names: string[] = [];
  for (const pattern of patterns) names.push(...(await filesOf(pattern, baseFolder)));
  const files: CorpusFile[] = [];
  for (const file of new Set(names)) files.push(await describe(file));
  if (files.length === 0) throw new UserError('CorpusMissing', 'the corpus has no files', { hint: ALLOWED });
  return files;
}

async function filesOf(pattern: string, baseFolder: string): Promise<string[]> {
  const literal = path.resolve(baseFolder, pattern);
  if (literal.includes('\0')) {
    throw new UserError('CorpusUnreadable', `${quote(pattern)} is no file name: it has a null character in it`);
  }
  const found = await stat(literal).catch((error: unknown) => {
    const code = systemErrorCode(error);
    if (code === null) throw error;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    // A glob may be longer than any name of a file.
    if (code === 'ENAMETOOLONG' && isDynamicPattern(pattern)) return null;
    throw new UserError('CorpusUnreadable', `${shorten(literal)}: cannot be read (${code})`, { cause: error });
  });
  if (found?.isDirectory() === true) {
    throw new UserError('CorpusMissing', `${literal} is a folder, not a file`, {
      hint: `Name its files by a glob, for example "${pattern.replace(/[\\/]+$/, '')}/*.txt".`,
    });
  }
  if (found !== null) return [literal];
  if (!isDynamicPattern(pattern)) {
    throw new UserError('CorpusMissing', `${literal}: no such file`, {
      ...(path.isAbsolute(pattern) ? {} : { hint: `Corpus files are searched from ${path.resolve(baseFolder)}.` }),
    });
  }
  const slashes = path.sep === '\\' ? pattern.replaceAll('\\', '/') : pattern;
  const matches = await glob(slashes, { cwd: baseFolder, absolute: true, onlyFiles: true, expandDirectories: false });
  if (matches.length === 0) {
    throw new UserError('CorpusMissing', `no file matches "${pattern}"`, {
      hint: `The glob is searched from ${path.resolve(baseFolder)}.`,
    });
  }
  // Code unit order: the same on every machine, whatever its locale.
  return matches.map((file) => path.normalize(file)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

const ALLOWED = 'Allowed are .txt, .jsonl, .parquet and pre-tokenized .bin files.';

async function describe(file: string): Promise<CorpusFile> {
  const kind = KINDS[path.extname(file).toLowerCase()];
  if (kind === undefined) throw new UserError('CorpusKind', `${file}: not a kind of corpus file`, { hint: ALLOWED });
  return { file, kind, bytes: (await stat(file)).size };
}
