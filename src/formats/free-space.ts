import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from '../errors';

/** Free bytes for this user where `folder` is or will be; null where the system does not say. */
export async function freeSpace(folder: string): Promise<number | null> {
  for (let here = path.resolve(folder); ; here = path.dirname(here)) {
    try {
      const { bavail, blocks, bsize } = await statfs(here);
      // File systems that are no storage, as /proc, have no blocks: writing fails there for another reason than room.
      return blocks === 0 ? null : bavail * bsize;
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT' || path.dirname(here) === here) return null;
    }
  }
}
