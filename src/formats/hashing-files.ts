// SHA-256 of files while they are written, which spares reading them again.
import { createHash } from 'node:crypto';
import type { FileSystem, OpenFile } from './file-system';

export interface WrittenFile {
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export interface HashingFiles {
  readonly fileSystem: FileSystem;
  /** What was written from first to last byte and closed under this name, or renamed to it; undefined: nothing was. */
  readonly written: (file: string) => WrittenFile | undefined;
}

/** A file system whose new files are hashed; reading and everything else is that of `inner`. */
export function hashing(inner: FileSystem): HashingFiles {
  const written = new Map<string, WrittenFile>();
  return {
    written: (file) => written.get(file),
    fileSystem: {
      ...inner,
      open: async (file, flags) => {
        const opened = await inner.open(file, flags);
        written.delete(file);
        return flags === 'w' || flags === 'wx' ? hashed(opened, (result) => written.set(file, result)) : opened;
      },
      rename: async (from, to) => {
        await inner.rename(from, to);
        const result = written.get(from);
        written.delete(from);
        if (result === undefined) written.delete(to);
        else written.set(to, result);
      },
      unlink: async (file) => {
        written.delete(file);
        await inner.unlink(file);
      },
    },
  };
}

function hashed(inner: OpenFile, closed: (result: WrittenFile) => void): OpenFile {
  const hash = createHash('sha256');
  let bytes = 0;
  return {
    read: (buffer, offset, length, position) => inner.read(buffer, offset, length, position),
    write: async (buffer, offset, length, position) => {
      if (position !== null && position !== bytes) throw new RangeError('a file that is hashed is written in order');
      const result = await inner.write(buffer, offset, length, position);
      hash.update(buffer.subarray(offset, offset + result.bytesWritten));
      bytes += result.bytesWritten;
      return result;
    },
    stat: () => inner.stat(),
    truncate: () => Promise.reject(new RangeError('a file that is hashed is not cut')),
    datasync: () => inner.datasync(),
    close: async () => {
      await inner.close();
      closed({ bytes, sha256: hash.digest('hex') });
    },
  };
}
