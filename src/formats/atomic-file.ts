// A file that is there whole or not at all, written from memory or from a stream.
import path from 'node:path';
import { nodeFileSystem, temporaryName, writeAll, type FileSystem, type OpenFile } from './file-system';

export type Bytes = string | Uint8Array;
/** A whole file at once, or its parts in order. */
export type FileContents = Bytes | Iterable<Bytes> | AsyncIterable<Bytes>;

/** Writes `contents` to a temporary name beside `file`, waits until they are on the disk, renames, and waits for the folder:
 *  at any moment, also over a power failure, `file` is the old one or the new one, whole. A failure (of the disk or of the
 *  stream) leaves `file` as it was and removes the temporary one where that is still possible. */
export async function atomicWriteFile(
  file: string,
  contents: FileContents,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<void> {
  const temporary = temporaryName(file);
  const handle = await fileSystem.open(temporary, 'wx');
  try {
    await writeAndClose(handle, contents);
    await fileSystem.rename(temporary, file);
  } catch (error) {
    await fileSystem.unlink(temporary).catch(() => undefined);
    throw error;
  }
  await fileSystem.syncFolder(path.dirname(file));
}

async function writeAndClose(handle: OpenFile, contents: FileContents): Promise<void> {
  try {
    const parts = typeof contents === 'string' || contents instanceof Uint8Array ? [contents] : contents;
    for await (const part of parts) await writeAll(handle, part);
    await handle.datasync();
  } catch (error) {
    await handle.close().catch(() => undefined);
    throw error;
  }
  await handle.close();
}
