// What a killed trainer leaves behind: temporary files and folders that nobody will rename any more.

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from '../errors';
import type { FileSystem } from '../formats/file-system';
import { listCheckpoints, runPaths } from '../runs';
import { baseFolder } from './base';

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
  for (const { directory, complete } of await listCheckpoints(runDirectory)) {
    if (!complete) await fileSystem.removeTree(directory);
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
