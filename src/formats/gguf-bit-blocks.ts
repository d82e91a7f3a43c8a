// Blocks of ggml that lay bits of many weights side by side: Q2_K, Q3_K.
import type { BlockBuffer, RowOfBlocks } from './gguf-number-blocks';

/** d · sc · u − dmin · mn, here with sc = 1, mn = z (2 when symmetric), dmin = d. */
export function packQ2K(
  quads: Uint32Array,
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
    for (let half = 0; half < 2; half++) {
      for (let l = from; l < from + 8; l++) words[at++] = fourTwoBits(quads, l);
      from += 32;
    }
    words[at++] = d | (d << 16);
  }
}

/** The same straight from a stream of 2-bit codes: byte l of each 32 codes goes into word l. */
export function packStreamQ2K(
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

/** A 4 × 4 matrix of 2-bit codes, a row to a byte, transposed by two exchanges of bits. */
function transposedCodes(matrix: number): number {
  const near = (matrix ^ (matrix >>> 6)) & 0x00cc00cc;
  const once = matrix ^ near ^ (near << 6);
  const far = (once ^ (once >>> 12)) & 0x0000f0f0;
  return once ^ far ^ (far << 12);
}

/** d · (sc − 32) · (low − 4 where the high bit is 0), here with sc = 33. */
export function packQ3K(
  quads: Uint32Array,
  row: number,
  { scales }: RowOfBlocks,
  { halves }: BlockBuffer,
  begin: number,
): void {
  let at = begin >> 1;
  let from = row;
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
