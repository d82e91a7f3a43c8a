// Slots: as many files for each device of a host as runs may work on it at a time. A slot is made exclusively by whoever starts
// a queued run in it, and holds as long as that run works. Only with the lock of the queue.
import { readdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { systemErrorCode } from '../errors';
import { nodeFileSystem, writeFile } from '../formats/file-system';
import { parseOwner, type Owner } from './exclusive-file';
import { jsonText, readJson } from './json-file';
import { slug } from './layout';
import { queuePaths } from './queue-file';

export interface Slot extends Owner {
  readonly file: string;
  readonly device: string;
  /** Name of the run that was started in it. */
  readonly run: string;
}

/** Slots of this host. */
export async function readSlots(runsFolder: string): Promise<Slot[]> {
  const { slots } = queuePaths(runsFolder);
  const slotsFound: Slot[] = [];
  for (const name of await namesIn(slots)) {
    if (!name.startsWith(hostPart()) || !name.endsWith('.json')) continue;
    const file = path.join(slots, name);
    const value = await readJson(file).catch(() => null);
    if (value === undefined) continue;
    const { device, run } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
    // One that a power failure has emptied belongs to no run.
    slotsFound.push({
      ...parseOwner(value),
      file,
      device: typeof device === 'string' ? device : '',
      run: typeof run === 'string' ? run : '',
    });
  }
  return slotsFound;
}

/** Makes a slot of a device that is not in `taken`. */
export async function makeSlot(
  runsFolder: string,
  taken: readonly Slot[],
  contents: Omit<Slot, 'file'>,
): Promise<Slot> {
  const { slots } = queuePaths(runsFolder);
  await nodeFileSystem.mkdir(slots);
  const files = new Set(taken.map(({ file }) => file));
  for (let index = 0; ; index++) {
    const file = path.join(slots, `${hostPart()}${slug(contents.device)}.${String(index)}.json`);
    if (files.has(file)) continue;
    await writeFile(nodeFileSystem, file, jsonText(contents), { exclusive: true, sync: true });
    return { ...contents, file };
  }
}

export async function removeSlot({ file }: Slot): Promise<void> {
  await nodeFileSystem.unlink(file).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  });
}

function hostPart(): string {
  return `${slug(os.hostname())}.`;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
