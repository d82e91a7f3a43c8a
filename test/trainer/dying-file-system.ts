// A file system under which the process dies: from one call on, nothing reaches the disk any more, cleaning up included.

import { nodeFileSystem, type FileSystem, type OpenFile } from '../../src/formats/file-system';

export class Died extends Error {
  constructor(call: string) {
    super(`died at ${call}`);
  }
}

/** @param at the call, counted from 1, at which the process dies; Infinity: it lives. A write at that call is cut in half. */
export function dyingFileSystem(at: number): FileSystem & { readonly calls: string[] } {
  const calls: string[] = [];
  const live = (name: string): boolean => {
    calls.push(name);
    return calls.length < at;
  };
  const guard = <Arguments extends unknown[], Result>(
    name: string,
    action: (...args: Arguments) => Promise<Result>,
  ): ((...args: Arguments) => Promise<Result>) => {
    return async (...args) => {
      if (!live(name)) throw new Died(`${String(calls.length)} ${name}`);
      return action(...args);
    };
  };
  const wrap = (file: OpenFile): OpenFile => ({
    read: guard('read', (...args: Parameters<OpenFile['read']>) => file.read(...args)),
    write: async (buffer, offset, length, position) => {
      if (live('write')) return file.write(buffer, offset, length, position);
      if (calls.length === at) await file.write(buffer, offset, length >> 1, position);
      throw new Died(`${String(calls.length)} write`);
    },
    stat: guard('stat', () => file.stat()),
    truncate: guard('truncate', (length: number) => file.truncate(length)),
    // Waiting for the disk changes nothing that a test can see.
    datasync: guard('datasync', () => Promise.resolve()),
    // A dead process holds no descriptors.
    close: () => file.close(),
  });
  return {
    calls,
    open: guard('open', async (...args: Parameters<FileSystem['open']>) => wrap(await nodeFileSystem.open(...args))),
    mkdir: guard('mkdir', (folder: string) => nodeFileSystem.mkdir(folder)),
    rename: guard('rename', (from: string, to: string) => nodeFileSystem.rename(from, to)),
    link: guard('link', (from: string, to: string) => nodeFileSystem.link(from, to)),
    copyExclusive: guard('copyExclusive', (from: string, to: string) => nodeFileSystem.copyExclusive(from, to)),
    unlink: guard('unlink', (file: string) => nodeFileSystem.unlink(file)),
    removeTree: guard('removeTree', (folder: string) => nodeFileSystem.removeTree(folder)),
    syncFolder: guard('syncFolder', () => Promise.resolve()),
  };
}
