// Reads an append-only text file as it grows: each call gives the lines that were completed since the last one.
import { open, type FileHandle } from 'node:fs/promises';
import { systemErrorCode } from '../errors';

export interface TailResult {
  readonly lines: readonly string[];
  /** The file was truncated or replaced: `lines` starts from its beginning again. */
  readonly reset: boolean;
  /** Bytes read so far, of those that were there. Less only when `limit` has ended the read. */
  readonly read: number;
  readonly size: number;
}

const CHUNK = 256 * 1024;
/** A line longer than this is not one of ours: its start is dropped rather than collected without bound. */
const LONGEST_LINE = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

export class LineTail {
  private offset = 0;
  private inode: bigint | null = null;
  /** Bytes after the last newline. Kept as bytes: a character may be cut in half at the end of a read. */
  private partial: Buffer[] = [];
  private partialBytes = 0;

  constructor(readonly file: string) {}

  /** New complete lines, without their newlines. A file that is not there (yet) has none. Reads what the file held at the
   *  time of the call, so that a fast writer cannot keep it busy for ever.
   *  @param limit bytes to read at most: the lines of a file of gigabytes do not fit into memory at once. */
  async read(limit = Number.POSITIVE_INFINITY): Promise<TailResult> {
    let handle: FileHandle;
    try {
      handle = await open(this.file, 'r');
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
      return { lines: [], reset: this.restart(null), read: 0, size: 0 };
    }
    try {
      const { size, ino } = await handle.stat({ bigint: true });
      const whole = Number(size);
      const replaced = this.inode !== null && this.inode !== ino;
      const reset = replaced || whole < this.offset ? this.restart(ino) : false;
      this.inode = ino;
      const lines = await this.readTo(handle, Math.min(whole, this.offset + limit));
      return { lines, reset, read: this.offset, size: Math.max(whole, this.offset) };
    } finally {
      await handle.close();
    }
  }

  private restart(inode: bigint | null): boolean {
    const hadRead = this.offset > 0;
    this.offset = 0;
    this.inode = inode;
    this.partial = [];
    this.partialBytes = 0;
    return hadRead;
  }

  private async readTo(handle: FileHandle, end: number): Promise<string[]> {
    const lines: string[] = [];
    while (this.offset < end) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, end - this.offset));
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, this.offset);
      if (bytesRead === 0) break;
      this.offset += bytesRead;
      this.take(chunk.subarray(0, bytesRead), lines);
    }
    return lines;
  }

  private take(bytes: Buffer, lines: string[]): void {
    let start = 0;
    for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, start)) {
      this.partial.push(bytes.subarray(start, at));
      lines.push(Buffer.concat(this.partial).toString('utf8'));
      this.partial = [];
      this.partialBytes = 0;
      start = at + 1;
    }
    if (start === bytes.length) return;
    this.partial.push(bytes.subarray(start));
    this.partialBytes += bytes.length - start;
    if (this.partialBytes > LONGEST_LINE) {
      this.partial = [];
      this.partialBytes = 0;
    }
  }
}
