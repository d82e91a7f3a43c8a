// Integers in 32-bit words, as compressed-tensors and GPTQ keep them: codes Q + 2^(bits−1), lowest bits first, along the inputs. For
// widths that divide 32, and for 3 bits in GPTQ, that is the bit stream of our own rows.
import { joinNibbles, joinQuad, packedWords, quadsPerRow, unpackQuads } from './code-quads';
import { packedRowBytes, type QuantizedTensor } from './quantized-tensor';

/** Words of a row at `width` bits a code; a row ends on a whole word. */
export function wordsPerRow(width: number, inputs: number): number {
  return Math.ceil((inputs * width) / 32);
}

/** All rows of a linear, `width` bits a code (at least the linear's own): Uint32 [outputs, {@link wordsPerRow}]. Bits behind the last
 *  code of a row are zero. */
export async function wordRows(tensor: QuantizedTensor, width: number): Promise<Uint32Array> {
  const { outputs, inputs, bits } = tensor;
  const codes = await tensor.codes();
  const rowBytes = packedRowBytes(bits, inputs);
  const perRow = wordsPerRow(width, inputs);
  const packed = packedWords(codes);
  if (width === bits && rowBytes === perRow * 4 && inputs % 32 === 0) return packed;
  const words = new Uint32Array(outputs * perRow);
  const shift = 2 ** (width - 1) - 2 ** (bits - 1);
  const row = new Uint32Array(quadsPerRow(inputs));
  // Of the last word of four, what are codes.
  const rest = inputs % 4 === 0 ? -1 : 2 ** (8 * (inputs % 4)) - 1;
  for (let index = 0; index < outputs; index++) {
    unpackQuads(packed, (index * rowBytes) / 4, bits, shift, row);
    row[row.length - 1] = (row[row.length - 1] ?? 0) & rest;
    joinRow(row, width, words, index * perRow, perRow);
  }
  return words;
}

/** Writes a row of codes, four to a word, as a stream of `width` bits each. */
function joinRow(row: Uint32Array, width: number, words: Uint32Array, begin: number, perRow: number): void {
  const end = begin + perRow;
  if (width === 8) {
    words.set(row, begin);
    return;
  }
  let at = begin;
  if (width === 4) {
    for (let k = 0; k < row.length; k += 2)
      words[at++] = joinNibbles(row[k] ?? 0) | (joinNibbles(row[k + 1] ?? 0) << 16);
    return;
  }
  let held = 0;
  let heldBits = 0;
  for (const quad of row) {
    const value = joinQuad(quad, width);
    held |= value << heldBits;
    heldBits += 4 * width;
    if (heldBits >= 32) {
      words[at++] = held;
      heldBits -= 32;
      // What did not fit into the word.
      held = heldBits === 0 ? 0 : value >>> (4 * width - heldBits);
    }
  }
  if (at < end) words[at] = held;
}
