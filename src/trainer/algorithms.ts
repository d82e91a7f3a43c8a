// algorithms.txt: which of the algorithms of a GPU's library serves each product of a run. Chosen when a product first comes up,
// stored with each checkpoint, and taken again by every later attempt, so that it computes the same bits.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Engine } from '../../native/binding/addon';
import { messageOf, systemErrorCode, UserError } from '../errors';
import { writeFileAtomic, type FileSystem } from '../formats/file-system';

export const ALGORITHMS_FILE = 'algorithms.txt';

type Chooser = Pick<Engine, 'algorithms' | 'takeAlgorithms'>;

async function stored(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Before the first product of an attempt.
 *  @returns what could not be had as before, as a line for people; null: nothing
 *  @throws UserError DamagedFile */
export async function restoreAlgorithms(runDirectory: string, engine: Chooser): Promise<string | null> {
  const file = path.join(runDirectory, ALGORITHMS_FILE);
  const text = await stored(file);
  if (text === '') return null;
  try {
    if (await engine.takeAlgorithms(text)) return null;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'InvalidArgument')) throw error;
    throw new UserError('DamagedFile', `${file}: ${messageOf(error)}`, {
      hint: 'Remove the file: the run then goes on, but does not compute the same bits.',
    });
  }
  const chosenBy = text.slice(0, text.indexOf('\n'));
  return `algorithms of matrix products: those of ${chosenBy} cannot be taken by the library that is here now`;
}

/** Before a checkpoint; the file is written when products have been added. */
export async function storeAlgorithms(fileSystem: FileSystem, runDirectory: string, engine: Chooser): Promise<void> {
  const text = await engine.algorithms();
  const file = path.join(runDirectory, ALGORITHMS_FILE);
  if (text === '' || text === (await stored(file))) return;
  await writeFileAtomic(fileSystem, file, text, { sync: true });
}
