// Small JSON files of a run directory.
import { readFile } from 'node:fs/promises';
import { systemErrorCode, UserError } from '../errors';

/** Parsed contents; undefined where there is no such file. */
export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT' || systemErrorCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
  return parseJson(text, file);
}

export function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError('DamagedFile', `${file}: not valid JSON (${text.length === 0 ? 'empty' : 'damaged'})`, {
      cause: error,
    });
  }
}

/** Text of a small file for people as well: indented, newline at the end. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
