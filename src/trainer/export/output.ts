// The place an export is written to: complete under its name, or not there. Everything is made in a hidden folder beside it.
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../../errors';
import { temporaryName, type FileSystem } from '../../formats/file-system';

export const MANIFEST_FILE = 'manifest.json';

/** `folder`: what is written; `name`: what an export of one file alone is called in it, null where the folder is the export. */
export interface Output {
  /** Absolute path of the export. */
  readonly path: string;
  /** Where its files are made. */
  readonly folder: string;
}

/** Checks that the place is free, or may be replaced.
 *  @throws UserError OutputExists, or NotAnExport for a folder that `force` will not remove either */
export async function requireFree(place: string, force: boolean): Promise<void> {
  if (!existsSync(place)) return;
  if (!force) {
    throw new UserError('OutputExists', `${place}: exists`, {
      hint: 'Choose another --out, or replace it with --force.',
    });
  }
  if (!(await stat(place)).isDirectory()) return;
  const names = await readdir(place);
  if (names.length === 0 || (await isExport(place))) return;
  throw new UserError('NotAnExport', `${place}: a folder that no export has made; it is not replaced`, {
    hint: 'Choose another --out, or remove it yourself.',
  });
}

async function isExport(folder: string): Promise<boolean> {
  try {
    const manifest: unknown = JSON.parse(await readFile(path.join(folder, MANIFEST_FILE), 'utf8'));
    return typeof manifest === 'object' && manifest !== null && 'kind' in manifest && manifest.kind === MANIFEST_KIND;
  } catch {
    return false;
  }
}

export const MANIFEST_KIND = 'lrqat-export';

/** Lets `write` fill a hidden folder and moves it to `place` when it is done. A failure leaves `place` as it was and nothing else. */
export async function writeFolder(
  fileSystem: FileSystem,
  place: string,
  force: boolean,
  write: (folder: string) => Promise<void>,
): Promise<void> {
  await requireFree(place, force);
  await fileSystem.mkdir(path.dirname(place));
  const temporary = temporaryName(place);
  await fileSystem.mkdir(temporary);
  try {
    await write(temporary);
    await fileSystem.syncFolder(temporary);
    await requireFree(place, force);
    await replaceFolder(fileSystem, temporary, place);
  } catch (error) {
    await fileSystem.removeTree(temporary);
    throw error;
  }
  await fileSystem.syncFolder(path.dirname(place));
}

async function replaceFolder(fileSystem: FileSystem, temporary: string, place: string): Promise<void> {
  if (!existsSync(place)) return fileSystem.rename(temporary, place);
  const old = temporaryName(place);
  await fileSystem.rename(place, old);
  try {
    await fileSystem.rename(temporary, place);
  } catch (error) {
    await fileSystem.rename(old, place);
    throw error;
  }
  await fileSystem.removeTree(old);
}
