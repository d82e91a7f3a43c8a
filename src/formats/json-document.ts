// JSON files of a model folder: bounded, parsed, without keys that are there twice.
import { readFile, stat } from 'node:fs/promises';
import { systemErrorCode, UserError } from '../errors';
import { firstDuplicateKey } from './json-duplicates';
import { quote } from './show-value';

/** Parses a file of at most `maxBytes`; null where it does not exist.
 *  @throws UserError FileUnreadable or DamagedFile */
export async function readJsonDocument(file: string, maxBytes: number): Promise<unknown> {
  let text: string;
  try {
    const info = await stat(file);
    if (!info.isFile()) throw new UserError('FileUnreadable', `${file}: not a file`);
    if (info.size > maxBytes) {
      throw new UserError('DamagedFile', `${file}: ${String(info.size)} bytes, more than such a file can have`);
    }
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    if (error instanceof UserError) throw error;
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw new UserError('DamagedFile', `${file}: not valid UTF-8`);
    throw new UserError('FileUnreadable', `${file}: cannot be read (${code ?? String(error)})`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const detail = error instanceof Error ? error.message.slice(0, 200) : '';
    throw new UserError('DamagedFile', `${file}: not valid JSON (${detail})`, { cause: error });
  }
  const duplicate = firstDuplicateKey(text);
  if (duplicate !== null) {
    throw new UserError('DamagedFile', `${file}: the key ${quote(duplicate)} is there twice`);
  }
  return value;
}
