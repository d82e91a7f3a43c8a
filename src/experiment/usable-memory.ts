// The memory that shares are taken of.

import os from 'node:os';

/** Bytes of memory of the machine or, where smaller, of the container that this process is confined to. */
export function usableMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem();
}
