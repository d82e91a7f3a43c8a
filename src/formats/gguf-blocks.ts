// GGUF's block types, written from integers and scales that exist already (ggml calls this quantized data; nothing is quantized
// here). Every type holds Ŵ = s ∘ Q exactly when s is a half-precision number and Q lies in the type's range: sub-block scales
// are the integer 1 and the block's own scale is s. Layouts: ggml-common.h and ggml-quants.c of llama.cpp.
import { fp16Bits, fp16Value } from './half';
import { packedWords, quadsPerRow, spread4, unpackQuads } from './code-quads';
import { scalesPerRow, packedRowBytes, type QuantizedTensor } from './quantized-tensor';

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
  /** Whether a block has a zero point of its own. */
  readonly zeroPoints: boolean;
  /** Writes the blocks of a row from byte `begin` on. `quads` are integers plus 2^(maxBits−1), with a zero point of its own codes,
   *  four to a word. */
  readonly pack: (quads: Uint32Array, of: RowOfBlocks, out: BlockBuffer, begin: number) => void;
}

/** What the blocks of a row have. */
interface RowOfBlocks {
  /** Bits in half precision. */
  readonly scales: Uint16Array;
  /** Zero points, of types that have them. */
  readonly zeroPoints: Uint8Array;
}

/** By bytes a weight, smallest first; of two equal ones the faster in llama.cpp. */
export const BLOCK_TYPES: readonly BlockType[] = [
  { name: 'Q2_K', id: 10, fileType: 10, weights: 256, bytes: 84, maxBits: 2, zeroPoints: true, pack: packQ2K },
  { name: 'Q3_K', id: 11, fileType: 12, weights: 256, bytes: 110, maxBits: 3, zeroPoints: false, pack: packQ3K },
  { name: 'Q4_0', id: 2, fileType: 2, weights: 32, bytes: 18, maxBits: 4, zeroPoints: false, pack: packQ40 },
  { name: 'Q4_K', id: 12, fileType: 15, weights: 256, bytes: 144, maxBits: 4, zeroPoints: true, pack: packQ4K },
  { name: 'Q4_1', id: 3, fileType: 3, weights: 32, bytes: 20, maxBits: 4, zeroPoints: false, pack: packQ41 },
  { name: 'Q8_0', id: 8, fileType: 7, weights: 32, bytes: 34, maxBits: 8, zeroPoints: false, pack: packQ80 },
];

/** Why a tensor cannot be written as blocks of a type; null: it can, exactly if its scales are half-precision numbers. */
export function blockObstacle(
  type: BlockType,
  { bits, inputs, groupSize, zeroPoints }: Pick<QuantizedTensor, 'bits' | 'inputs' | 'groupSize' | 'zeroPoints'>,
): string | null {
  if (bits > type.maxBits) return `${type.name} holds ${String(type.maxBits)} bits, not ${String(bits)}`;
  // Q − z of b bits lies between −(2^b − 1) and 2^b − 1.
  if (zeroPoints !== undefined && !type.zeroPoints && bits >= type.maxBits) {
    return `${type.name} has no zero points and cannot hold ${String(bits)} bits with one`;
  }
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
  /** One a scale; null: the grid is symmetric. */
  readonly zeroPoints: Uint8Array | null;
}

/** Rows `rows` (indices of the linear's rows, in the order of the file). Callers have checked {@link blockObstacle}.
 *  @param buffer gets them; its size is a multiple of 4 */
export function packRows(
  { type, tensor, codes, scales, zeroPoints }: BlockRows,
  rows: Uint32Array,
  buffer: ArrayBuffer,
): Uint8Array {
  const { bits, inputs, groupSize } = tensor;
  const words = packedWords(codes);
  const wordsPerRow = packedRowBytes(bits, inputs) / 4;
  const perRow = scalesPerRow(tensor);
  const blocks = inputs / type.weights;
  const out: BlockBuffer = { halves: new Uint16Array(buffer), words: new Uint32Array(buffer) };
  const quads = new Uint32Array(quadsPerRow(inputs));
  const middle = 2 ** (type.maxBits - 1);
  const of: RowOfBlocks = { scales: new Uint16Array(blocks), zeroPoints: new Uint8Array(blocks).fill(middle) };
  const inBlock = type.zeroPoints || zeroPoints === null;
  const shift = zeroPoints === null ? middle - 2 ** (bits - 1) : inBlock ? 0 : middle;
  const packStream = inBlock ? STREAMS.get(`${type.name} ${String(bits)}`) : undefined;
  let at = 0;
  for (const index of rows) {
    for (let block = 0; block < blocks; block++) {
      const group = groupSize > 0 ? Math.floor((block * type.weights) / groupSize) : 0;
      of.scales[block] = scales[index * perRow + group] ?? 0;
      if (zeroPoints !== null) of.zeroPoints[block] = zeroPoints[index * perRow + group] ?? 0;
    }
    if (packStream !== undefined) packStream(words, index * wordsPerRow, of, out, at);
    else {
      unpackQuads(words, index * wordsPerRow, bits, shift, quads);
      if (!inBlock) subtract(of.zeroPoints, quads, type.weights / 4);
      type.pack(quads, of, out, at);
    }
    at += blocks * type.bytes;
  }
  return new Uint8Array(buffer, 0, at);
}

/** Takes the zero point of its block from every code; none becomes negative, see {@link blockObstacle}. */
function subtract(zeroPoints: Uint8Array, quads: Uint32Array, quadsPerBlock: number): void {
  let at = 0;
  for (const zero of zeroPoints) {
    const four = zero * 0x01010101;
    for (const end = at + quadsPerBlock; at < end; at++) quads[at] = (quads[at] ?? 0) - four;
  }
}

/** Types and bits whose blocks are made from the packed row itself, the most used ones. */
const STREAMS: ReadonlyMap<
  string,
  (codes: Uint32Array, row: number, of: RowOfBlocks, out: BlockBuffer, begin: number) => void
> = new Map([
  ['Q4_0 4', packStreamQ40],
  ['Q4_1 4', packStreamQ41],
  ['Q4_K 4', packStreamQ4K],
  ['Q2_K 2', packStreamQ2K],
]);

/** One buffer seen in two ways; blocks begin at even bytes, those of some types at multiples of four. */
interface BlockBuffer {
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
}

/** d · (u − 8); byte j holds weights j and j + 16. */
function packQ40(quads: Uint32Array, { scales }: RowOfBlocks, { halves }: BlockBuffer, begin: number): void {
  let at = begin >> 1;
  let from = 0;
  for (const d of scales) {
    halves[at++] = d;
    for (let j = from; j < from + 4; j++) {
      const pair = (quads[j] ?? 0) | ((quads[j + 4] ?? 0) << 4);
      halves[at++] = pair;
      halves[at++] = pair >>> 16;
    }
    from += 8;
  }
}

/** The same straight from a stream of 4-bit codes. */
function packStreamQ40(
  codes: Uint32Array,
  row: number,
  { scales }: RowOfBlocks,
  { halves }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 1;
  let from = row;
  for (const d of scales) {
    halves[at++] = d;
    for (let k = from; k < from + 2; k++) {
      const low = codes[k] ?? 0;
      const high = codes[k + 2] ?? 0;
      const first = nibblePairs(low & 0xffff, high & 0xffff);
      const second = nibblePairs(low >>> 16, high >>> 16);
      halves[at++] = first;
      halves[at++] = first >>> 16;
      halves[at++] = second;
      halves[at++] = second >>> 16;
    }
    from += 4;
  }
}

/** Four nibbles of `low` into the lower, four of `high` into the upper halves of bytes. */
function nibblePairs(low: number, high: number): number {
  return spread4(low) | (spread4(high) << 4);
}

/** d · u + m with m = −8 d, which is a half-precision number as d is (8 only moves its exponent). */
function packQ41(quads: Uint32Array, { scales }: RowOfBlocks, { words }: BlockBuffer, begin: number): void {
  let at = begin >> 2;
  let from = 0;
  for (const d of scales) {
    words[at++] = d | (minusEight(d) << 16);
    for (let j = from; j < from + 4; j++) words[at++] = (quads[j] ?? 0) | ((quads[j + 4] ?? 0) << 4);
    from += 8;
  }
}

/** The same straight from a stream of 4-bit codes. */
function packStreamQ41(
  codes: Uint32Array,
  row: number,
  { scales }: RowOfBlocks,
  { words }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 2;
  let from = row;
  for (const d of scales) {
    words[at++] = d | (minusEight(d) << 16);
    for (let k = from; k < from + 2; k++) {
      const low = codes[k] ?? 0;
      const high = codes[k + 2] ?? 0;
      words[at++] = nibblePairs(low & 0xffff, high & 0xffff);
      words[at++] = nibblePairs(low >>> 16, high >>> 16);
    }
    from += 4;
  }
}

/** −8 d in half precision. */
function minusEight(d: number): number {
  const exponent = (d >> 10) & 0x1f;
  return exponent > 0 && exponent < 28 ? (d ^ 0x8000) + (3 << 10) : fp16Bits(-8 * fp16Value(d));
}

/** d · q, q signed bytes: flipping the top bit takes the offset of 128 away. */
function packQ80(quads: Uint32Array, { scales }: RowOfBlocks, { halves }: BlockBuffer, begin: number): void {
  let at = begin >> 1;
  let from = 0;
  for (const d of scales) {
    halves[at++] = d;
    for (let j = from; j < from + 8; j++) {
      const four = (quads[j] ?? 0) ^ 0x80808080;
      halves[at++] = four;
      halves[at++] = four >>> 16;
    }
    from += 8;
  }
}

/** d · sc · u − dmin · mn, here with sc = 1, mn = z (2 when symmetric), dmin = d. */
function packQ2K(quads: Uint32Array, { scales, zeroPoints }: RowOfBlocks, { words }: BlockBuffer, begin: number): void {
  let at = begin >> 2;
  let from = 0;
  let block = 0;
  for (const d of scales) {
    const zero = (zeroPoints[block++] ?? 0) * 0x01010101;
    for (let k = 0; k < 4; k++) words[at++] = 0x01010101 | (zero << 4);
    for (let half = 0; half < 2; half++) {
      for (let l = from; l < from + 8; l++) words[at++] = fourTwoBits(quads, l);
      from += 32;
    }
    words[at++] = d | (d << 16);
  }
}

/** The same straight from a stream of 2-bit codes: byte l of each 32 codes goes into word l. */
function packStreamQ2K(
  codes: Uint32Array,
  row: number,
  { scales, zeroPoints }: RowOfBlocks,
  { words }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 2;
  let from = row;
  let block = 0;
  for (const d of scales) {
    const zero = (zeroPoints[block++] ?? 0) * 0x01010101;
    for (let k = 0; k < 4; k++) words[at++] = 0x01010101 | (zero << 4);
    for (let quarter = 0; quarter < 4; quarter++) {
      const first = from + 8 * (quarter >> 1) + (quarter & 1);
      const a = codes[first] ?? 0;
      const b = codes[first + 2] ?? 0;
      const c = codes[first + 4] ?? 0;
      const e = codes[first + 6] ?? 0;
      // Bytes 0 and 2, then 1 and 3, of two words in turn.
      const evenAb = (a & 0x00ff00ff) | ((b & 0x00ff00ff) << 8);
      const oddAb = ((a >>> 8) & 0x00ff00ff) | (b & 0xff00ff00);
      const evenCe = (c & 0x00ff00ff) | ((e & 0x00ff00ff) << 8);
      const oddCe = ((c >>> 8) & 0x00ff00ff) | (e & 0xff00ff00);
      words[at++] = transposedCodes((evenAb & 0xffff) | (evenCe << 16));
      words[at++] = transposedCodes((oddAb & 0xffff) | (oddCe << 16));
      words[at++] = transposedCodes((evenAb >>> 16) | (evenCe & 0xffff0000));
      words[at++] = transposedCodes((oddAb >>> 16) | (oddCe & 0xffff0000));
    }
    from += 16;
    words[at++] = d | (d << 16);
  }
}

/** The same as {@link packQ4K} straight from a stream of 4-bit codes. */
function packStreamQ4K(
  codes: Uint32Array,
  row: number,
  { scales, zeroPoints }: RowOfBlocks,
  { words }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 2;
  let from = row;
  let block = 0;
  for (const d of scales) {
    const zero = (zeroPoints[block++] ?? 0) * 0x01010101;
    at = startQ4K(words, at, d, zero);
    for (let chunk = 0; chunk < 4; chunk++) {
      for (let k = from; k < from + 4; k++) {
        const low = codes[k] ?? 0;
        const high = codes[k + 4] ?? 0;
        words[at++] = nibblePairs(low & 0xffff, high & 0xffff);
        words[at++] = nibblePairs(low >>> 16, high >>> 16);
      }
      from += 8;
    }
  }
}

/** The sixteen bytes before the codes. `zero`: four times the zero point, in bytes. @returns where those begin */
function startQ4K(words: Uint32Array, at: number, d: number, zero: number): number {
  words[at] = d | (d << 16);
  words[at + 1] = 0x01010101;
  words[at + 2] = zero;
  words[at + 3] = 0x01010101 | (zero << 4);
  return at + 4;
}

/** A 4 × 4 matrix of 2-bit codes, a row to a byte, transposed by two exchanges of bits. */
function transposedCodes(matrix: number): number {
  const near = (matrix ^ (matrix >>> 6)) & 0x00cc00cc;
  const once = matrix ^ near ^ (near << 6);
  const far = (once ^ (once >>> 12)) & 0x0000f0f0;
  return once ^ far ^ (far << 12);
}

/** d · (sc − 32) · (low − 4 where the high bit is 0), here with sc = 33. */
function packQ3K(quads: Uint32Array, { scales }: RowOfBlocks, { halves }: BlockBuffer, begin: number): void {
  let at = begin >> 1;
  let from = 0;
  for (const d of scales) {
    for (let l = from; l < from + 8; l++) {
      const high = highBits(quads, l) | (highBits(quads, l + 32) << 4);
      const low = fourTwoBits(quads, l);
      const second = fourTwoBits(quads, l + 32);
      halves[at] = high;
      halves[at + 1] = high >>> 16;
      halves[at + 16] = low;
      halves[at + 17] = low >>> 16;
      halves[at + 32] = second;
      halves[at + 33] = second >>> 16;
      at += 2;
    }
    from += 64;
    at += 32;
    // Sixteen six-bit scales of 33: their low halves, then their high two bits.
    for (let k = 0; k < 4; k++) halves[at++] = 0x1111;
    for (let k = 0; k < 2; k++) halves[at++] = 0xaaaa;
    halves[at++] = d;
  }
}

/** d · sc · u − dmin · mn, here with sc = 1, mn = z (8 when symmetric), dmin = d. */
function packQ4K(quads: Uint32Array, { scales, zeroPoints }: RowOfBlocks, { words }: BlockBuffer, begin: number): void {
  let at = begin >> 2;
  let from = 0;
  let block = 0;
  for (const d of scales) {
    const zero = (zeroPoints[block++] ?? 0) * 0x01010101;
    at = startQ4K(words, at, d, zero);
    for (let chunk = 0; chunk < 4; chunk++) {
      for (let l = from; l < from + 8; l++) words[at++] = (quads[l] ?? 0) | ((quads[l + 8] ?? 0) << 4);
      from += 16;
    }
  }
}

/** The third bits of the codes at `at`, at + 8, at + 16 and at + 24 words, in the lowest four bits of each byte. */
function highBits(quads: Uint32Array, at: number): number {
  return (
    (((quads[at] ?? 0) & 0x04040404) >>> 2) |
    (((quads[at + 8] ?? 0) & 0x04040404) >>> 1) |
    ((quads[at + 16] ?? 0) & 0x04040404) |
    (((quads[at + 24] ?? 0) & 0x04040404) << 1)
  );
}

/** The low two bits of the codes at `at`, at + 8, at + 16 and at + 24 words. */
function fourTwoBits(quads: Uint32Array, at: number): number {
  return (
    ((quads[at] ?? 0) & 0x03030303) |
    (((quads[at + 8] ?? 0) & 0x03030303) << 2) |
    (((quads[at + 16] ?? 0) & 0x03030303) << 4) |
    (((quads[at + 24] ?? 0) & 0x03030303) << 6)
  );
}
