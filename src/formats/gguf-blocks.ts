// GGUF's block types, written from integers and scales that exist already (ggml calls this quantized data; nothing is quantized
// here). Every type holds Ŵ = s ∘ Q exactly when s is a half-precision number and Q lies in the type's range: sub-block scales
// are the integer 1 and the block's own scale is s. Layouts: ggml-common.h and ggml-quants.c of llama.cpp.
import { fp16Bits, fp16Value } from './half';
import { scalesPerRow, packedRowBytes, unpackRow, type QuantizedTensor } from './quantized-tensor';

export type BlockTypeName = 'Q2_K' | 'Q3_K' | 'Q4_0' | 'Q4_K' | 'Q4_1' | 'Q8_0';

export interface BlockType {
  readonly name: BlockTypeName;
  /** Of ggml_type. */
  readonly id: number;
  /** `general.file_type` of a file whose linears are mostly of this type. */
  readonly fileType: number;
  /** Weights and bytes of a block. */
  readonly weights: number;
  readonly bytes: number;
  /** Integers from −2^(maxBits−1) to 2^(maxBits−1) − 1 fit. */
  readonly maxBits: number;
  /** Writes one block at `at`. `q` are integers plus 2^(maxBits−1), from index `from`; `d` the scale's bits in half precision. */
  readonly pack: (q: Uint8Array, from: number, d: number, out: Uint8Array, at: number) => void;
}

/** By bytes a weight, smallest first; of two equal ones the faster in llama.cpp. */
export const BLOCK_TYPES: readonly BlockType[] = [
  { name: 'Q2_K', id: 10, fileType: 10, weights: 256, bytes: 84, maxBits: 2, pack: packQ2K },
  { name: 'Q3_K', id: 11, fileType: 12, weights: 256, bytes: 110, maxBits: 3, pack: packQ3K },
  { name: 'Q4_0', id: 2, fileType: 2, weights: 32, bytes: 18, maxBits: 4, pack: packQ40 },
  { name: 'Q4_K', id: 12, fileType: 15, weights: 256, bytes: 144, maxBits: 4, pack: packQ4K },
  { name: 'Q4_1', id: 3, fileType: 3, weights: 32, bytes: 20, maxBits: 4, pack: packQ41 },
  { name: 'Q8_0', id: 8, fileType: 7, weights: 32, bytes: 34, maxBits: 8, pack: packQ80 },
];

/** Why a tensor cannot be written as blocks of a type; null: it can, exactly if its scales are half-precision numbers. */
export function blockObstacle(
  type: BlockType,
  { bits, inputs, groupSize }: Pick<QuantizedTensor, 'bits' | 'inputs' | 'groupSize'>,
): string | null {
  if (bits > type.maxBits) return `${type.name} holds ${String(type.maxBits)} bits, not ${String(bits)}`;
  const size = String(type.weights);
  if (inputs % type.weights !== 0)
    return `input width ${String(inputs)} is no multiple of the ${size} weights of a block`;
  if (groupSize > 0 && groupSize % type.weights !== 0) {
    return `a block of ${size} weights has one scale, groups of ${String(groupSize)} need more`;
  }
  return null;
}

/** Rows of a quantized linear as blocks. */
export interface BlockRows {
  readonly type: BlockType;
  readonly tensor: Pick<QuantizedTensor, 'bits' | 'inputs' | 'groupSize'>;
  /** Packed rows of the whole linear. */
  readonly codes: Uint8Array;
  /** Scales in half precision, as bits, of the whole linear. */
  readonly scales: Uint16Array;
}

/** Rows `rows` (indices of the linear's rows, in the order of the file). Callers have checked {@link blockObstacle}. */
export function packRows({ type, tensor, codes, scales }: BlockRows, rows: Uint32Array): Uint8Array {
  const { bits, inputs, groupSize } = tensor;
  if (type.name === 'Q4_0' && bits === 4) return packNibbles({ type, tensor, codes, scales }, rows);
  const rowBytes = packedRowBytes(bits, inputs);
  const perRow = scalesPerRow(tensor);
  const blocks = inputs / type.weights;
  const out = new Uint8Array(rows.length * blocks * type.bytes);
  const shift = (1 << (type.maxBits - 1)) - (1 << (bits - 1));
  const row = new Uint8Array(inputs);
  let at = 0;
  for (const index of rows) {
    unpackRow(codes, index * rowBytes, bits, row);
    if (shift !== 0) for (let k = 0; k < inputs; k++) row[k] = (row[k] ?? 0) + shift;
    for (let block = 0; block < blocks; block++) {
      const from = block * type.weights;
      const scale = perRow === 0 ? 0 : index * perRow + (groupSize > 0 ? Math.floor(from / groupSize) : 0);
      type.pack(row, from, scales[scale] ?? 0, out, at);
      at += type.bytes;
    }
  }
  return out;
}

/** Q4_0 from 4-bit codes, the most used pair, eight weights at a time: neighbouring nibbles move sixteen places apart. */
function packNibbles({ type, tensor, codes, scales }: BlockRows, rows: Uint32Array): Uint8Array {
  const { inputs, groupSize } = tensor;
  const perRow = scalesPerRow(tensor);
  const blocks = inputs / type.weights;
  const wordsPerRow = packedRowBytes(4, inputs) / 4;
  const aligned = codes.byteOffset % 4 === 0 ? codes : codes.slice();
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
  const out = new Uint16Array((rows.length * blocks * type.bytes) / 2);
  let at = 0;
  for (const index of rows) {
    let from = index * wordsPerRow;
    for (let block = 0; block < blocks; block++, from += 4) {
      const scale = perRow === 0 ? 0 : index * perRow + (groupSize > 0 ? Math.floor((block * 32) / groupSize) : 0);
      out[at++] = scales[scale] ?? 0;
      for (let half = 0; half < 2; half++) {
        const low = words[from + half] ?? 0;
        const high = words[from + half + 2] ?? 0;
        const first = spread(low & 0xffff) | (spread(high & 0xffff) << 4);
        const second = spread(low >>> 16) | (spread(high >>> 16) << 4);
        out[at++] = first;
        out[at++] = first >>> 16;
        out[at++] = second;
        out[at++] = second >>> 16;
      }
    }
  }
  return new Uint8Array(out.buffer);
}

/** Four nibbles, each into a byte of its own. */
function spread(nibbles: number): number {
  const pairs = (nibbles | (nibbles << 8)) & 0x00ff00ff;
  return (pairs | (pairs << 4)) & 0x0f0f0f0f;
}

/** d · (u − 8); byte j holds weights j and j + 16. */
function packQ40(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  putHalf(out, at, d);
  for (let j = 0; j < 16; j++) out[at + 2 + j] = (q[from + j] ?? 0) | ((q[from + j + 16] ?? 0) << 4);
}

/** d · u + m with m = −8 d, which is a half-precision number as d is (8 only moves its exponent). */
function packQ41(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  putHalf(out, at, d);
  putHalf(out, at + 2, fp16Bits(-8 * fp16Value(d)));
  for (let j = 0; j < 16; j++) out[at + 4 + j] = (q[from + j] ?? 0) | ((q[from + j + 16] ?? 0) << 4);
}

/** d · q, q signed bytes: flipping the top bit takes the offset of 128 away. */
function packQ80(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  putHalf(out, at, d);
  for (let j = 0; j < 32; j++) out[at + 2 + j] = (q[from + j] ?? 0) ^ 0x80;
}

/** d · sc · u − dmin · mn, here with sc = 1, mn = 2, dmin = d. */
function packQ2K(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  out.fill(0x21, at, at + 16);
  for (let half = 0; half < 2; half++) {
    const first = from + 128 * half;
    const to = at + 16 + 32 * half;
    for (let l = 0; l < 32; l++) out[to + l] = fourTwoBits(q, first + l);
  }
  putHalf(out, at + 80, d);
  putHalf(out, at + 82, d);
}

/** d · (sc − 32) · (low − 4 where the high bit is 0), here with sc = 33. */
function packQ3K(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  for (let l = 0; l < 32; l++) {
    const first = from + l;
    let high = 0;
    for (let half = 0; half < 2; half++) {
      const begin = first + 128 * half;
      const [a, b, c, e] = [q[begin] ?? 0, q[begin + 32] ?? 0, q[begin + 64] ?? 0, q[begin + 96] ?? 0];
      high |= ((a >> 2) | ((b >> 2) << 1) | ((c >> 2) << 2) | ((e >> 2) << 3)) << (4 * half);
      out[at + 32 + 32 * half + l] = (a & 3) | ((b & 3) << 2) | ((c & 3) << 4) | ((e & 3) << 6);
    }
    out[at + l] = high;
  }
  // Sixteen six-bit scales of 33: their low halves, then their high two bits.
  out.fill(0x11, at + 96, at + 104);
  out.fill(0xaa, at + 104, at + 108);
  putHalf(out, at + 108, d);
}

/** d · sc · u − dmin · mn, here with sc = 1, mn = 8, dmin = d. */
function packQ4K(q: Uint8Array, from: number, d: number, out: Uint8Array, at: number): void {
  putHalf(out, at, d);
  putHalf(out, at + 2, d);
  out.fill(0x01, at + 4, at + 8);
  out.fill(0x08, at + 8, at + 12);
  out.fill(0x81, at + 12, at + 16);
  for (let chunk = 0; chunk < 4; chunk++) {
    const first = from + 64 * chunk;
    const to = at + 16 + 32 * chunk;
    for (let l = 0; l < 32; l++) out[to + l] = (q[first + l] ?? 0) | ((q[first + l + 32] ?? 0) << 4);
  }
}

/** The two-bit codes at `at`, at + 32, at + 64 and at + 96. */
function fourTwoBits(q: Uint8Array, at: number): number {
  return (q[at] ?? 0) | ((q[at + 32] ?? 0) << 2) | ((q[at + 64] ?? 0) << 4) | ((q[at + 96] ?? 0) << 6);
}

function putHalf(out: Uint8Array, at: number, bits: number): void {
  out[at] = bits & 0xff;
  out[at + 1] = bits >> 8;
}
