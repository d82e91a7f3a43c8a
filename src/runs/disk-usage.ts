// How much disk a run takes.
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { runPaths } from './layout';

export interface DiskUsage {
  readonly total: number;
  readonly checkpoints: number;
}

/** Bytes of the files of a run; links are not followed, and what vanishes meanwhile counts nothing. */
export async function diskUsage(runDirectory: string): Promise<DiskUsage> {
  const checkpoints = await bytesIn(runPaths(runDirectory).checkpoints);
  return { total: await bytesIn(runDirectory), checkpoints };
}

async function bytesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) bytes += await bytesIn(file);
    else
      bytes += await lstat(file).then(
        ({ size }) => size,
        () => 0,
      );
  }
  return bytes;
}
