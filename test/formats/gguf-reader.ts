// Reading GGUF without our own code: the container with @huggingface/gguf, the blocks weight by weight from the description of
// ggml's types (block structures and dequantize_row functions).
import { readFileSync } from 'node:fs';
import { gguf } from '@huggingface/gguf';

export interface ReadTensor {
  readonly type: number;
  /** Innermost first, as the file has it. */
  readonly shape: readonly number[];
  /** Float32 values in file order. */
  readonly values: Float32Array;
}

export interface ReadFile {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, ReadTensor>;
}

export async function readGguf(file: string): Promise<ReadFile> {
  const { metadata, tensorInfos, tensorDataOffset } = await gguf(file, { allowLocalFile: true });
  const bytes = readFileSync(file);
  const tensors = new Map<string, ReadTensor>();
  for (const { name, shape, dtype, offset } of tensorInfos) {
    const sizes = shape.map(Number);
    const count = sizes.reduce((a, b) => a * b, 1);
    const begin = Number(tensorDataOffset) + Number(offset);
    if (begin % 32 !== 0) throw new Error(`${name} begins at byte ${String(begin)}`);
    tensors.set(name, { type: dtype, shape: sizes, values: decode(bytes, begin, dtype, count) });
  }
  return { metadata: metadata as unknown as Record<string, unknown>, tensors };
}

type Decoder = (block: DataView, weight: number) => number;

/** Weights of a block, its bytes, and its weight number w. */
const DECODERS: Readonly<Record<number, readonly [number, number, Decoder]>> = {
  // F32, F16, BF16
  0: [1, 4, (b) => b.getFloat32(0, true)],
  1: [1, 2, (b) => half(b, 0)],
  30: [1, 2, (b) => new Float32Array(Uint32Array.of(b.getUint16(0, true) << 16).buffer)[0]!],
  // Q4_0: d, 16 bytes of two nibbles, the upper ones are the second half of the block; d · (x − 8)
  2: [32, 18, (b, w) => half(b, 0) * (nibble(b, 2, w) - 8)],
  // Q4_1: d, m; d · x + m
  3: [32, 20, (b, w) => half(b, 0) * nibble(b, 4, w) + half(b, 2)],
  // Q8_0: d, 32 signed bytes
  8: [32, 34, (b, w) => half(b, 0) * b.getInt8(2 + w)],
  // Q2_K: 16 × (scale, min) of 4 bits for 16 weights, 64 bytes of four 2-bit codes, d, dmin
  10: [
    256,
    84,
    (b, w) => {
      const sub = b.getUint8(w >> 4);
      return half(b, 80) * (sub & 15) * twoBits(b, 16, w) - half(b, 82) * (sub >> 4);
    },
  ],
  // Q3_K: 32 bytes of third bits (0: minus 4), 64 bytes of lower two bits, 12 bytes of sixteen 6-bit scales, d
  11: [
    256,
    110,
    (b, w) => {
      const high = (b.getUint8(w & 31) >> (w >> 5)) & 1;
      return half(b, 108) * (q3Scale(b, w >> 4) - 32) * (twoBits(b, 32, w) - (high ? 0 : 4));
    },
  ],
  // Q4_K: d, dmin, 12 bytes of eight 6-bit scales and mins, 128 bytes of nibbles in four chunks of 64 weights
  12: [
    256,
    144,
    (b, w) => {
      const [scale, min] = q4Scale(b, w >> 5);
      const byte = b.getUint8(16 + 32 * (w >> 6) + (w & 31));
      return half(b, 0) * scale * ((w & 63) < 32 ? byte & 15 : byte >> 4) - half(b, 2) * min;
    },
  ],
};

function decode(bytes: Uint8Array, begin: number, type: number, count: number): Float32Array {
  const decoder = DECODERS[type];
  if (decoder === undefined) throw new Error(`no decoder for type ${String(type)}`);
  const [weights, size, value] = decoder;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const at = begin + Math.floor(i / weights) * size;
    values[i] = value(new DataView(bytes.buffer, bytes.byteOffset + at, size), i % weights);
  }
  return values;
}

/** IEEE binary16 from its definition. */
function half(block: DataView, at: number): number {
  const bits = block.getUint16(at, true);
  const [sign, exponent, fraction] = [bits >> 15, (bits >> 10) & 31, bits & 1023];
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return exponent === 31 ? NaN : sign ? -magnitude : magnitude;
}

function nibble(block: DataView, from: number, w: number): number {
  const byte = block.getUint8(from + (w & 15));
  return w < 16 ? byte & 15 : byte >> 4;
}

/** Two halves of 128 weights, 32 bytes each; weights 32 apart share a byte. */
function twoBits(block: DataView, from: number, w: number): number {
  return (block.getUint8(from + 32 * (w >> 7) + (w & 31)) >> (2 * ((w >> 5) & 3))) & 3;
}

/** Lower four bits in bytes 0 … 7 (first eight scales low nibbles), upper two in bytes 8 … 11. */
function q3Scale(block: DataView, k: number): number {
  const low = k < 8 ? block.getUint8(96 + k) & 15 : block.getUint8(96 + k - 8) >> 4;
  const high = (block.getUint8(104 + (k & 3)) >> (2 * (k >> 2))) & 3;
  return low | (high << 4);
}

function q4Scale(block: DataView, k: number): [number, number] {
  const q = (i: number): number => block.getUint8(4 + i);
  if (k < 4) return [q(k) & 63, q(k + 4) & 63];
  return [(q(k + 4) & 15) | ((q(k - 4) >> 6) << 4), (q(k + 4) >> 4) | ((q(k) >> 6) << 4)];
}
