// What a killed trainer leaves behind: temporary files and folders that nobody will rename any more.

import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from '../errors';
import type { FileSystem } from '../formats/file-system';
import { listCheckpoints, runPaths } from '../runs';
import { baseFolder } from './base';

const OLD_CLAIM_MS = 60_000;

/** For the owner of the run alone, before it writes anything. */
export async function removeLeftovers(fileSystem: FileSystem, runDirectory: string): Promise<void> {
  const folders: readonly (readonly [folder: string, names: RegExp])[] = [
    [runDirectory, /^\.(choices|evaluations)\.json\.[0-9a-f]+\.tmp$|^\.merged\.safetensors\.[0-9a-f]+\.tmp$/],
    [baseFolder(runDirectory), /^\..*\.tmp$/],
    [runPaths(runDirectory).checkpoints, /^\.step-\d+\.tmp$/],
  ];
  for (const [folder, pattern] of folders) {
    for (const name of await namesIn(folder)) {
      if (pattern.test(name)) await fileSystem.removeTree(path.join(folder, name));
    }
  }
  // Another process may be about to claim the run at this moment: only claims that are old are nobody's.
  for (const name of await namesIn(runDirectory)) {
    const file = path.join(runDirectory, name);
    if (/^\.owner-.*\.tmp$/.test(name) && (await ageOf(file)) > OLD_CLAIM_MS) await fileSystem.removeTree(file);
  }
  for (const { directory, complete } of await listCheckpoints(runDirectory)) {
    if (!complete) await fileSystem.removeTree(directory);
  }
}

async function ageOf(file: string): Promise<number> {
  try {
    return Date.now() - (await stat(file)).mtimeMs;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
