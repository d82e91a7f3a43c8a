// Appends JSON lines to a file so that readers and later writers never meet half a line, short of a crash in mid-write; and
// makes good what such a crash has left.
import type { FileSystem, OpenFile } from '../formats/file-system';

const NEWLINE = 0x0a;

export class JsonLinesWriter {
  /** Appends run one after the other, in the order asked for. */
  private queue: Promise<void> = Promise.resolve();
  /** The file ends within a line: the next append starts with a newline, which makes the rest a damaged line that readers
   *  skip. Cutting it off instead would move bytes under readers that have them already. */
  private broken: boolean;

  private constructor(
    private readonly file: OpenFile,
    private length: number,
    broken: boolean,
  ) {
    this.broken = broken;
  }

  static async open(fileSystem: FileSystem, path: string): Promise<JsonLinesWriter> {
    const file = await fileSystem.open(path, 'a+');
    try {
      const { size } = await file.stat();
      const last = Buffer.alloc(1);
      if (size > 0) await file.read(last, 0, 1, size - 1);
      return new JsonLinesWriter(file, size, size > 0 && last[0] !== NEWLINE);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get isEmpty(): boolean {
    return this.length === 0;
  }

  /** Resolves when the lines are in the file. After an error (disk full) the file is as it was before.
   *  @param sync also wait until they are on the disk. */
  append(values: readonly object[], sync = false): Promise<void> {
    const text = values.map((value) => `${JSON.stringify(value)}\n`).join('');
    const done = this.queue.then(() => this.write(text, sync));
    this.queue = done.catch(() => undefined);
    return done;
  }

  async close(): Promise<void> {
    await this.queue;
    await this.file.close();
  }

  private async write(text: string, sync: boolean): Promise<void> {
    const bytes = Buffer.from(this.broken ? `\n${text}` : text);
    let written = 0;
    try {
      while (written < bytes.length) {
        written += (await this.file.write(bytes, written, bytes.length - written, null)).bytesWritten;
      }
    } catch (error) {
      await this.undo(written);
      throw error;
    }
    this.length += bytes.length;
    this.broken = false;
    if (sync) await this.file.datasync();
  }

  private async undo(written: number): Promise<void> {
    if (written === 0) return;
    try {
      await this.file.truncate(this.length);
    } catch {
      this.length += written;
      this.broken = true;
    }
  }
}
