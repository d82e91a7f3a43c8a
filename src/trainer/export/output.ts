// The place an export is written to: complete under its name, or not there. Everything is made in a hidden folder beside it.
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../../errors';
import type { FileSystem } from '../../formats/file-system';
import { REPLACED } from './scratch';

export const MANIFEST_FILE = 'manifest.json';
export const CARD_FILE = 'README.md';

export function isGgufFile(out: string): boolean {
  return out.toLowerCase().endsWith('.gguf');
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

/** Gives a finished folder its place. A failure leaves `place` as it was.
 *  @param finished a folder in the scratch folder, which takes what is replaced for a moment: two folders cannot change places
 *  at once, and a process killed between the two steps leaves it there for the next export to put back */
export async function placeFolder(fileSystem: FileSystem, finished: string, place: string): Promise<void> {
  await fileSystem.syncFolder(finished);
  if (existsSync(place)) {
    const old = path.join(path.dirname(finished), REPLACED);
    await fileSystem.rename(place, old);
    try {
      await fileSystem.rename(finished, place);
    } catch (error) {
      await fileSystem.rename(old, place);
      throw error;
    }
  } else await fileSystem.rename(finished, place);
  await fileSystem.syncFolder(path.dirname(place));
}

/** Gives the file of a finished folder its place, with card and manifest beside it under its name. Three names cannot change at
 *  once; the order is such that a file is always whole and a manifest always that of the file beside it. */
export async function placeFile(fileSystem: FileSystem, finished: string, model: string, place: string): Promise<void> {
  await fileSystem.syncFolder(finished);
  // A file takes the place of another, but not that of a folder.
  if (existsSync(place) && (await stat(place)).isDirectory()) {
    await fileSystem.rename(place, path.join(path.dirname(finished), REPLACED));
  }
  for (const name of [MANIFEST_FILE, CARD_FILE]) {
    if (existsSync(`${place}.${name}`)) await fileSystem.unlink(`${place}.${name}`);
  }
  await fileSystem.rename(path.join(finished, model), place);
  for (const name of [CARD_FILE, MANIFEST_FILE]) await fileSystem.rename(path.join(finished, name), `${place}.${name}`);
  await fileSystem.syncFolder(path.dirname(place));
}
