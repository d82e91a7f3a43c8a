// Everything that changes the disk goes through this interface, so that a test can make any single call fail (disk full,
// input/output error, process killed) and see what is left. Reading needs no such door.
import { copyFile, constants, link, mkdir, open, rename, rm, stat, unlink } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { systemErrorCode } from '../errors';

/** An open file, as node's FileHandle has it. */
export interface OpenFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
  /** May write less than asked. `position` null: at the end of what was written so far. */
  write(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number | null,
  ): Promise<{ readonly bytesWritten: number }>;
  stat(): Promise<{ readonly size: number }>;
  truncate(length: number): Promise<void>;
  /** Waits until contents and size are on the disk. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** `w`: new or emptied; `wx`: must not exist; `a`, `a+`: writes go to the end. */
  open(file: string, flags: 'r' | 'w' | 'wx' | 'a' | 'a+'): Promise<OpenFile>;
  /** With all missing parents; fine when it is there already. */
  mkdir(folder: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file; EEXIST when `to` exists. */
  link(from: string, to: string): Promise<void>;
  /** EEXIST when `to` exists. */
  copyExclusive(from: string, to: string): Promise<void>;
  unlink(file: string): Promise<void>;
  /** A folder and all in it; fine when it is not there. */
  removeTree(folder: string): Promise<void>;
  /** Waits until the names in a folder are on the disk. */
  syncFolder(folder: string): Promise<void>;
}

/** Not mkdir's own `recursive`: where no folder can be made though its parent is there (/proc), that one tries for ever. */
async function makeFolder(folder: string): Promise<void> {
  const make = async (): Promise<boolean> => {
    try {
      await mkdir(folder);
      return true;
    } catch (error) {
      const code = systemErrorCode(error);
      // Of a file in its place it is an error.
      if (code === 'EEXIST' && (await stat(folder)).isDirectory()) return true;
      if (code === 'ENOENT' && path.dirname(folder) !== folder) return false;
      throw error;
    }
  };
  if (await make()) return;
  await makeFolder(path.dirname(folder));
  if (!(await make())) await mkdir(folder);
}

export const nodeFileSystem: FileSystem = {
  open: (file, flags) => open(file, flags),
  mkdir: makeFolder,
  rename: (from, to) => rename(from, to),
  link: (from, to) => link(from, to),
  copyExclusive: (from, to) => copyFile(from, to, constants.COPYFILE_EXCL),
  unlink: (file) => unlink(file),
  removeTree: (folder) => rm(folder, { recursive: true, force: true }),
  syncFolder: async (folder) => {
    // Windows cannot open folders; NTFS journals renames by itself.
    if (process.platform === 'win32') return;
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

export interface WriteOptions {
  /** Fail with EEXIST instead of replacing. */
  readonly exclusive?: boolean;
  /** Wait until the contents are on the disk. */
  readonly sync?: boolean;
}

/** Writes a whole file in place. A file that could not be written whole is removed again. */
export async function writeFile(
  fileSystem: FileSystem,
  file: string,
  contents: string | Uint8Array,
  { exclusive = false, sync = false }: WriteOptions = {},
): Promise<void> {
  const handle = await fileSystem.open(file, exclusive ? 'wx' : 'w');
  try {
    await writeAll(handle, contents);
    if (sync) await handle.datasync();
  } catch (error) {
    await handle.close().catch(() => undefined);
    await fileSystem.unlink(file).catch(() => undefined);
    throw error;
  }
  await handle.close();
}

/** Writes all bytes at the end of what was written to `handle` so far. */
export async function writeAll(handle: OpenFile, contents: string | Uint8Array): Promise<void> {
  const bytes = typeof contents === 'string' ? Buffer.from(contents) : contents;
  for (let written = 0; written < bytes.length;) {
    written += (await handle.write(bytes, written, bytes.length - written, null)).bytesWritten;
  }
}

/** Replaces a file so that a reader at any moment finds the old contents or the new, whole. With `sync` this also holds over
 *  a power failure. */
export async function writeFileAtomic(
  fileSystem: FileSystem,
  file: string,
  contents: string | Uint8Array,
  { sync = false }: Pick<WriteOptions, 'sync'> = {},
): Promise<void> {
  const temporary = temporaryName(file);
  await writeFile(fileSystem, temporary, contents, { exclusive: true, sync });
  try {
    await fileSystem.rename(temporary, file);
  } catch (error) {
    await fileSystem.unlink(temporary).catch(() => undefined);
    throw error;
  }
  if (sync) await fileSystem.syncFolder(path.dirname(file));
}

/** A hidden name beside `file` that nobody else uses. */
export function temporaryName(file: string): string {
  return path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}.tmp`);
}
