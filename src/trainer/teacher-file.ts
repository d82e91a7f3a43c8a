// The teacher's file: of each sequence that training will see what the float model gives for its tokens (TeacherRows).
//
//   8 bytes   "LRQATTCH"
//   4 + 4     length of the description that follows, version of the format; uint32
//   n         the description, JSON
//   0 … 63    zeros up to a multiple of 64
//   records   all of one length: logarithms [tokens, k + 1] float32; ids [tokens, k] uint16, or uint32 for a vocabulary of more
//             than 65,536; the first 8 bytes of the SHA-256 of the record's number (uint64) and all of this
//
// All numbers are little-endian. While it is written it has another name; every record in it can be told whole from one cut short,
// so that a trainer that was killed goes on behind the last whole one, and each is checked whenever it is read.

import { createHash } from 'node:crypto';
import { open, stat, type FileHandle } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { TeacherRows } from '../../native/binding/addon';
import { systemErrorCode, UserError } from '../errors';
import { teacherIdBytes, teacherRecordBytes } from '../experiment';
import { TEACHER_CHECKSUM_BYTES } from '../experiment/distillation';
import { writeAll, type FileSystem, type OpenFile } from '../formats/file-system';

const MAGIC = 'LRQATTCH';
const VERSION = 1;
const PREFIX_BYTES = 16;
const ALIGNMENT = 64;

/** What the records depend on. */
export interface TeacherDescription {
  readonly sequences: number;
  readonly sequenceLength: number;
  readonly topK: number;
  readonly temperature: number;
  readonly vocabSize: number;
  /** `corpus`: of every sequence of the text, in its order; `training`: of those that training sees, in the order of its first epoch,
   *  which `seed` decides. */
  readonly order: 'corpus' | 'training';
  readonly seed: number;
  /** Identity of the tokens, and digest of the run's Φ0 and s0. */
  readonly data: string;
  readonly base: string;
}

export function teacherFile(runDirectory: string): string {
  return path.join(runDirectory, 'teacher.bin');
}

/** The same while it is written. */
export function unfinishedTeacherFile(runDirectory: string): string {
  return path.join(runDirectory, '.teacher.bin.unfinished');
}

/** Numbers of a record, at their places in it. */
class RecordFormat {
  readonly bytes: number;
  private readonly logCount: number;
  private readonly idCount: number;
  private readonly idBytes: 2 | 4;

  constructor({ sequenceLength, topK, vocabSize }: TeacherDescription) {
    this.bytes = teacherRecordBytes(topK, sequenceLength, vocabSize);
    this.logCount = sequenceLength * (topK + 1);
    this.idCount = sequenceLength * topK;
    this.idBytes = teacherIdBytes(vocabSize);
  }

  /** Records of all sequences of `rows`, the first of which has number `first`. */
  pack(rows: TeacherRows, first: number): Uint8Array {
    const count = rows.classes.length / this.idCount;
    const out = new Uint8Array(count * this.bytes);
    for (let i = 0; i < count; i++) {
      const record = out.subarray(i * this.bytes, (i + 1) * this.bytes);
      const logs = rows.logProbabilities.slice(i * this.logCount, (i + 1) * this.logCount);
      const ids = rows.classes.subarray(i * this.idCount, (i + 1) * this.idCount);
      const packed = this.idBytes === 2 ? Uint16Array.from(ids) : Uint32Array.from(ids);
      record.set(littleEndian(Buffer.from(logs.buffer), 4));
      record.set(littleEndian(Buffer.from(packed.buffer), this.idBytes), this.logCount * 4);
      record.set(this.checksum(record, first + i), this.bytes - TEACHER_CHECKSUM_BYTES);
    }
    return out;
  }

  isWhole(record: Uint8Array, number: number): boolean {
    const stored = record.subarray(this.bytes - TEACHER_CHECKSUM_BYTES);
    return Buffer.compare(stored, this.checksum(record, number)) === 0;
  }

  /** A whole record, as sequence `row` of `rows`. `record` lies at a multiple of 4 bytes and may be changed. */
  unpack(record: Uint8Array, rows: TeacherRows, row: number): void {
    const { buffer, byteOffset } = record;
    const idsAt = byteOffset + this.logCount * 4;
    littleEndian(Buffer.from(buffer, byteOffset, this.logCount * 4), 4);
    littleEndian(Buffer.from(buffer, idsAt, this.idCount * this.idBytes), this.idBytes);
    rows.logProbabilities.set(new Float32Array(buffer, byteOffset, this.logCount), row * this.logCount);
    const ids =
      this.idBytes === 2 ? new Uint16Array(buffer, idsAt, this.idCount) : new Uint32Array(buffer, idsAt, this.idCount);
    rows.classes.set(ids, row * this.idCount);
  }

  empty(sequences: number): TeacherRows {
    return {
      classes: new Int32Array(sequences * this.idCount),
      logProbabilities: new Float32Array(sequences * this.logCount),
    };
  }

  private checksum(record: Uint8Array, number: number): Uint8Array {
    const place = Buffer.alloc(8);
    place.writeBigUInt64LE(BigInt(number));
    const contents = record.subarray(0, this.bytes - TEACHER_CHECKSUM_BYTES);
    return createHash('sha256').update(place).update(contents).digest().subarray(0, TEACHER_CHECKSUM_BYTES);
  }
}

/** Swaps in place where the machine's own order is the other one. */
function littleEndian(bytes: Buffer, width: 2 | 4): Buffer {
  if (os.endianness() === 'LE') return bytes;
  return width === 2 ? bytes.swap16() : bytes.swap32();
}

function headerOf(description: TeacherDescription): Buffer {
  const text = Buffer.from(JSON.stringify(description));
  const header = Buffer.alloc(Math.ceil((PREFIX_BYTES + text.length) / ALIGNMENT) * ALIGNMENT);
  header.write(MAGIC, 'latin1');
  header.writeUInt32LE(text.length, 8);
  header.writeUInt32LE(VERSION, 12);
  text.copy(header, PREFIX_BYTES);
  return header;
}

/** Reads records of a finished file. */
export class TeacherReader {
  private constructor(
    private readonly handle: FileHandle,
    private readonly file: string,
    private readonly begin: number,
    private readonly format: RecordFormat,
    private readonly sequences: number,
  ) {}

  /** null: there is no such file, or it is not the one of this description. */
  static async open(file: string, description: TeacherDescription): Promise<TeacherReader | null> {
    const header = headerOf(description);
    const format = new RecordFormat(description);
    let handle: FileHandle;
    try {
      handle = await open(file, 'r');
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return null;
      throw error;
    }
    const size = header.length + description.sequences * format.bytes;
    const found = Buffer.alloc(header.length);
    const { bytesRead } = await handle.read(found, 0, found.length, 0);
    if (bytesRead === header.length && found.equals(header) && (await handle.stat()).size === size) {
      return new TeacherReader(handle, file, header.length, format, description.sequences);
    }
    await handle.close();
    return null;
  }

  /** Of these sequences in turn.
   *  @throws UserError DamagedFile */
  async read(numbers: readonly number[]): Promise<TeacherRows> {
    const rows = this.format.empty(numbers.length);
    const record = new Uint8Array(this.format.bytes);
    for (const [row, number] of numbers.entries()) {
      if (number < 0 || number >= this.sequences) {
        throw new RangeError(`sequence ${String(number)} of ${String(this.sequences)}`);
      }
      const { bytesRead } = await this.handle.read(record, 0, record.length, this.begin + number * record.length);
      if (bytesRead !== record.length || !this.format.isWhole(record, number)) {
        throw new UserError('DamagedFile', `${this.file}: what it holds of sequence ${String(number)} is damaged`, {
          hint: 'Delete the file and resume the run, which then makes it anew.',
        });
      }
      this.format.unpack(record, rows, row);
    }
    return rows;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Writes records in their order, from the beginning or behind those that an earlier process has written whole. */
export class TeacherWriter {
  private constructor(
    private readonly fileSystem: FileSystem,
    private readonly names: { readonly file: string; readonly unfinished: string },
    private readonly handle: OpenFile,
    private readonly format: RecordFormat,
    /** Sequences written. */
    private count: number,
  ) {}

  get written(): number {
    return this.count;
  }

  /** @param step goes on at a multiple of so many sequences: what was computed together stays together */
  static async open(
    fileSystem: FileSystem,
    runDirectory: string,
    description: TeacherDescription,
    step: number,
  ): Promise<TeacherWriter> {
    const names = { file: teacherFile(runDirectory), unfinished: unfinishedTeacherFile(runDirectory) };
    const header = headerOf(description);
    const format = new RecordFormat(description);
    const handle = await fileSystem.open(names.unfinished, 'a+');
    try {
      const whole = await wholeRecords(handle, header, format, description.sequences);
      const kept = whole === description.sequences ? whole : Math.floor(whole / step) * step;
      await handle.truncate(kept === 0 ? 0 : header.length + kept * format.bytes);
      if (kept === 0) await writeAll(handle, header);
      return new TeacherWriter(fileSystem, names, handle, format, kept);
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  async add(rows: TeacherRows): Promise<void> {
    const records = this.format.pack(rows, this.count);
    await writeAll(this.handle, records);
    this.count += records.length / this.format.bytes;
  }

  /** Gives the file its name: it is whole and on the disk. */
  async finish(): Promise<void> {
    await this.handle.datasync();
    await this.handle.close();
    await this.fileSystem.rename(this.names.unfinished, this.names.file);
    await this.fileSystem.syncFolder(path.dirname(this.names.file));
  }

  /** What is written stays for another time. */
  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Records from the first on that are as they were written; 0 where the file is of another description. */
async function wholeRecords(
  handle: OpenFile,
  header: Buffer,
  format: RecordFormat,
  sequences: number,
): Promise<number> {
  const found = Buffer.alloc(header.length);
  const { bytesRead } = await handle.read(found, 0, found.length, 0);
  if (bytesRead !== header.length || !found.equals(header)) return 0;
  const record = new Uint8Array(format.bytes);
  for (let number = 0; number < sequences; number++) {
    const at = header.length + number * record.length;
    if ((await handle.read(record, 0, record.length, at)).bytesRead !== record.length) return number;
    if (!format.isWhole(record, number)) return number;
  }
  return sequences;
}

/** Both names; fine where they are not there. */
export async function removeTeacher(fileSystem: FileSystem, runDirectory: string): Promise<void> {
  await fileSystem.removeTree(teacherFile(runDirectory));
  await fileSystem.removeTree(unfinishedTeacherFile(runDirectory));
}

/** Bytes that are still to be written. */
export async function missingBytes(runDirectory: string, description: TeacherDescription): Promise<number> {
  const whole = headerOf(description).length + description.sequences * new RecordFormat(description).bytes;
  const { size } = await stat(unfinishedTeacherFile(runDirectory)).catch(() => ({ size: 0 }));
  return Math.max(0, whole - size);
}
