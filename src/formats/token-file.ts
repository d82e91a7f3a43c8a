// Files of token ids: little-endian uint16 or uint32, read in slices.
import { closeSync, openSync, readSync } from 'node:fs';
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
  const packed = new Uint8Array(ids.length * tokenBytes(dtype));
  const view = new DataView(packed.buffer);
  if (dtype === 'uint16') ids.forEach((id, i) => view.setUint16(2 * i, id, true));
  else ids.forEach((id, i) => view.setUint32(4 * i, id, true));
  return packed;
}

export class TokenFile {
  private readonly descriptor: number;
  private buffer = Buffer.alloc(0);

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
    if (this.buffer.length < bytes) this.buffer = Buffer.alloc(bytes);
    readFully(this.descriptor, this.file, this.buffer.subarray(0, bytes), start * width);
    for (let i = 0; i < into.length; i++) {
      const id = width === 2 ? this.buffer.readUInt16LE(2 * i) : this.buffer.readUInt32LE(4 * i);
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
