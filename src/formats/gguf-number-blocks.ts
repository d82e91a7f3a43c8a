// Blocks of ggml whose weights are whole nibbles or bytes: Q4_0, Q4_1, Q4_K, Q8_0. Each of four bits is made in two ways, from codes
// that were widened to bytes and, what most runs have, straight from a stream of 4-bit codes.
import { spread4 } from './code-quads';
import { fp16Bits, fp16Value } from './half';

/** What the blocks of a row have. */
export interface RowOfBlocks {
  /** Bits in half precision. */
  readonly scales: Uint16Array;
  /** Zero points, of types that have them. */
  readonly zeroPoints: Uint8Array;
}

/** One buffer seen in two ways; blocks begin at even bytes, those of some types at multiples of four. */
export interface BlockBuffer {
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
}

/** Writes the blocks of a row from byte `begin` on.
 *  @param source codes of the type, four to a word, or a packed row of as many bits; the row begins at word `from` */
export type PackBlocks = (source: Uint32Array, from: number, of: RowOfBlocks, out: BlockBuffer, begin: number) => void;

/** Writes `count` words of nibbles: the codes of a half are the lower, those of the next half the upper ones.
 *  @returns words of the source they were made from */
type PackNibbles = (source: Uint32Array, from: number, count: number, words: Uint32Array, at: number) => number;

const fromQuads: PackNibbles = (quads, from, count, words, at) => {
  for (let k = 0; k < count; k++) words[at + k] = (quads[from + k] ?? 0) | ((quads[from + count + k] ?? 0) << 4);
  return 2 * count;
};

/** A word of the stream has eight codes. */
const fromStream: PackNibbles = (codes, from, count, words, at) => {
  const half = count / 2;
  for (let k = 0; k < half; k++) {
    const low = codes[from + k] ?? 0;
    const high = codes[from + half + k] ?? 0;
    words[at + 2 * k] = nibblePairs(low & 0xffff, high & 0xffff);
    words[at + 2 * k + 1] = nibblePairs(low >>> 16, high >>> 16);
  }
  return count;
};

/** Four nibbles of `low` into the lower, four of `high` into the upper halves of bytes. */
function nibblePairs(low: number, high: number): number {
  return spread4(low) | (spread4(high) << 4);
}

/** d · (u − 8); byte j holds weights j and j + 16. */
function q40(pack: PackNibbles): PackBlocks {
  // Blocks begin at even bytes, not at words.
  const words = new Uint32Array(4);
  const nibbles = new Uint16Array(words.buffer);
  return (source, from, { scales }, { halves }, begin) => {
    let at = begin >> 1;
    let next = from;
    for (const d of scales) {
      halves[at++] = d;
      next += pack(source, next, 4, words, 0);
      for (let k = 0; k < 8; k++) halves[at + k] = nibbles[k] ?? 0;
      at += 8;
    }
  };
}

/** d · u + m with m = −8 d, which is a half-precision number as d is (8 only moves its exponent). */
function q41(pack: PackNibbles): PackBlocks {
  return (source, from, { scales }, { words }, begin) => {
    let at = begin >> 2;
    let next = from;
    for (const d of scales) {
      words[at] = d | (minusEight(d) << 16);
      next += pack(source, next, 4, words, at + 1);
      at += 5;
    }
  };
}

/** d · sc · u − dmin · mn, here with sc = 1, mn = z (8 when symmetric), dmin = d. */
function q4K(pack: PackNibbles): PackBlocks {
  return (source, from, { scales, zeroPoints }, { words }, begin) => {
    let at = begin >> 2;
    let next = from;
    for (const [block, d] of scales.entries()) {
      const zero = (zeroPoints[block] ?? 0) * 0x01010101;
      words[at] = d | (d << 16);
      words[at + 1] = 0x01010101;
      words[at + 2] = zero;
      words[at + 3] = 0x01010101 | (zero << 4);
      at += 4;
      for (let chunk = 0; chunk < 4; chunk++, at += 8) next += pack(source, next, 8, words, at);
    }
  };
}

export const packQ40 = q40(fromQuads);
export const packStreamQ40 = q40(fromStream);
export const packQ41 = q41(fromQuads);
export const packStreamQ41 = q41(fromStream);
export const packQ4K = q4K(fromQuads);
export const packStreamQ4K = q4K(fromStream);

/** −8 d in half precision. */
function minusEight(d: number): number {
  const exponent = (d >> 10) & 0x1f;
  return exponent > 0 && exponent < 28 ? (d ^ 0x8000) + (3 << 10) : fp16Bits(-8 * fp16Value(d));
}

/** d · q, q signed bytes: flipping the top bit takes the offset of 128 away. */
export function packQ80(
  quads: Uint32Array,
  from: number,
  { scales }: RowOfBlocks,
  { halves }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 1;
  let next = from;
  for (const d of scales) {
    halves[at++] = d;
    for (let j = next; j < next + 8; j++) {
      const four = (quads[j] ?? 0) ^ 0x80808080;
      halves[at++] = four;
      halves[at++] = four >>> 16;
    }
    next += 8;
  }
}
