// Files of token ids: little-endian uint16 or uint32, read in slices.
import { closeSync, openSync, readSync } from 'node:fs';
import os from 'node:os';
import { UserError } from '../errors';

export type TokenDType = 'uint16' | 'uint32';

export function tokenBytes(dtype: TokenDType): 2 | 4 {
  return dtype === 'uint16' ? 2 : 4;
}

/** The smaller type that holds all ids of a vocabulary. */
export function dtypeFor(vocabSize: number): TokenDType {
  return vocabSize <= 65_536 ? 'uint16' : 'uint32';
}

export function packTokens(ids: Int32Array, dtype: TokenDType): Uint8Array {
  const packed = dtype === 'uint16' ? Uint16Array.from(ids) : Uint32Array.from(ids);
  return littleEndian(Buffer.from(packed.buffer), dtype);
}

/** Swaps in place where the machine's own order is the other one. */
function littleEndian(bytes: Buffer, dtype: TokenDType): Buffer {
  if (os.endianness() === 'LE') return bytes;
  return dtype === 'uint16' ? bytes.swap16() : bytes.swap32();
}

export class TokenFile {
  private readonly descriptor: number;
  private buffer = new ArrayBuffer(0);

  /** `vocabSize`: ids read are smaller, or the file is damaged. */
  constructor(
    readonly file: string,
    readonly dtype: TokenDType,
    readonly count: number,
    readonly vocabSize: number,
  ) {
    this.descriptor = openSync(file, 'r');
  }

  /** Ids [start, start + into.length) into `into`. */
  read(start: number, into: Int32Array): void {
    if (start < 0 || start + into.length > this.count) {
      throw new RangeError(`ids ${String(start)} + ${String(into.length)} of ${String(this.count)}`);
    }
    const width = tokenBytes(this.dtype);
    const bytes = into.length * width;
    if (this.buffer.byteLength < bytes) this.buffer = new ArrayBuffer(bytes);
    const raw = Buffer.from(this.buffer, 0, bytes);
    readFully(this.descriptor, this.file, raw, start * width);
    littleEndian(raw, this.dtype);
    const ids =
      width === 2 ? new Uint16Array(this.buffer, 0, into.length) : new Uint32Array(this.buffer, 0, into.length);
    for (let i = 0; i < into.length; i++) {
      const id = ids[i] ?? 0;
      if (id >= this.vocabSize) {
        throw new UserError(
          'CorpusInvalid',
          `${this.file}: token id ${String(id)} at position ${String(start + i)}, the vocabulary has ${String(this.vocabSize)}`,
        );
      }
      into[i] = id;
    }
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Sorted positions as little-endian float64 (exact up to 2^53), searched on disk. */
export class PositionFile {
  private readonly descriptor: number;
  private readonly one = Buffer.alloc(8);

  constructor(
    readonly file: string,
    readonly count: number,
  ) {
    this.descriptor = openSync(file, 'r');
  }

  /** The positions within [start, end). */
  within(start: number, end: number): number[] {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.at(middle) < start) low = middle + 1;
      else high = middle;
    }
    const positions: number[] = [];
    for (let i = low; i < this.count; i++) {
      const position = this.at(i);
      if (position >= end) break;
      positions.push(position);
    }
    return positions;
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private at(index: number): number {
    readFully(this.descriptor, this.file, this.one, index * 8);
    return this.one.readDoubleLE();
  }
}

function readFully(descriptor: number, file: string, into: Buffer, position: number): void {
  for (let done = 0; done < into.length;) {
    const read = readSync(descriptor, into, done, into.length - done, position + done);
    if (read === 0) throw new UserError('CorpusInvalid', `${file}: shorter than it was when it was opened`);
    done += read;
  }
}
