// The integers and scales of one quantized linear, as the trainer merges them and every export format takes them:
// Ŵ = s ∘ Q, Q in [−2^(bits−1), 2^(bits−1) − 1].

/** A merged linear. Its numbers are read when they are asked for, so that no more than one linear need be in memory. */
export interface QuantizedTensor {
  /** Full name of the linear: `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** Rows m and columns n. */
  readonly outputs: number;
  readonly inputs: number;
  readonly bits: number;
  /** Columns of a row that share a scale; −1: a row has one, 0: the matrix has one. */
  readonly groupSize: number;
  /** s, row after row. */
  scales(): Promise<Float32Array>;
  /** Offset codes Q + 2^(bits−1): a little-endian bit stream a row, {@link packedRowBytes} long. */
  codes(): Promise<Uint8Array>;
}

/** Bytes of a row: padded to a whole group of 32 codes, which is `bits` words of 32 bits. */
export function packedRowBytes(bits: number, inputs: number): number {
  return Math.ceil(inputs / 32) * bits * 4;
}

/** Scales of a row; 0 where all rows share one. */
export function scalesPerRow({ groupSize, inputs }: Pick<QuantizedTensor, 'groupSize' | 'inputs'>): number {
  if (groupSize === 0) return 0;
  return groupSize < 0 ? 1 : inputs / groupSize;
}

/** Columns that share a scale. */
export function columnsPerScale({ groupSize, inputs }: Pick<QuantizedTensor, 'groupSize' | 'inputs'>): number {
  return groupSize > 0 ? groupSize : inputs;
}

/** Reads `into.length` codes of a row that begins at byte `begin` of `packed`: 0 … 2^bits − 1 each. */
export function unpackRow(packed: Uint8Array, begin: number, bits: number, into: Uint8Array): void {
  const count = into.length;
  switch (bits) {
    case 2:
      for (let i = 0, at = begin; i < count; i += 4, at++) {
        const byte = packed[at] ?? 0;
        into[i] = byte & 3;
        into[i + 1] = (byte >> 2) & 3;
        into[i + 2] = (byte >> 4) & 3;
        into[i + 3] = byte >> 6;
      }
      return;
    case 3:
      for (let i = 0, at = begin; i < count; i += 8, at += 3) {
        const word = (packed[at] ?? 0) | ((packed[at + 1] ?? 0) << 8) | ((packed[at + 2] ?? 0) << 16);
        into[i] = word & 7;
        into[i + 1] = (word >> 3) & 7;
        into[i + 2] = (word >> 6) & 7;
        into[i + 3] = (word >> 9) & 7;
        into[i + 4] = (word >> 12) & 7;
        into[i + 5] = (word >> 15) & 7;
        into[i + 6] = (word >> 18) & 7;
        into[i + 7] = word >> 21;
      }
      return;
    case 4:
      for (let i = 0, at = begin; i < count; i += 2, at++) {
        const byte = packed[at] ?? 0;
        into[i] = byte & 15;
        into[i + 1] = byte >> 4;
      }
      return;
    case 8:
      into.set(packed.subarray(begin, begin + count));
      return;
    default: {
      const mask = (1 << bits) - 1;
      let held = 0;
      let heldBits = 0;
      for (let i = 0, at = begin; i < count; i++) {
        if (heldBits < bits) {
          held |= (packed[at++] ?? 0) << heldBits;
          heldBits += 8;
        }
        into[i] = held & mask;
        held >>>= bits;
        heldBits -= bits;
      }
    }
  }
}
