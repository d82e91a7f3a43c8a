// Integers in 32-bit words, as compressed-tensors and GPTQ keep them: codes Q + 2^(bits−1), lowest bits first, along the inputs. For
// widths that divide 32, and for 3 bits in GPTQ, that is the bit stream of our own rows.
import { joinNibbles, joinQuad, packedWords, quadsPerRow, unpackQuads } from './code-quads';
import { PART_BYTES } from './merged-model';
import { packedRowBytes, widening, type QuantizedTensor } from './quantized-tensor';

/** Words of a row at `width` bits a code; a row ends on a whole word. */
export function wordsPerRow(width: number, inputs: number): number {
  return Math.ceil((inputs * width) / 32);
}

/** {@link wordRows} in parts, each valid until the next is asked for. */
export async function* wordParts(tensor: QuantizedTensor, width: number): AsyncIterable<Uint32Array> {
  const { outputs, inputs, bits } = tensor;
  const perRow = wordsPerRow(width, inputs);
  const rowsAtOnce = Math.max(1, Math.floor(PART_BYTES / (4 * perRow)));
  const packed = packedWords(await tensor.codes());
  const words = new Uint32Array(rowsAtOnce * perRow);
  const isStream = ownStream(tensor, width);
  const shift = widening(tensor, width);
  for (let begin = 0; begin < outputs; begin += rowsAtOnce) {
    const end = Math.min(outputs, begin + rowsAtOnce);
    if (isStream) yield packed.subarray(begin * perRow, end * perRow);
    else yield repacked(packed, { inputs, bits, width, shift, begin, end }, words);
  }
}

/** Whether the words are the linear's own packed rows. */
function ownStream({ inputs, bits }: QuantizedTensor, width: number): boolean {
  return width === bits && inputs % 32 === 0;
}

/** All rows of a linear, `width` bits a code (at least the linear's own): Uint32 [outputs, {@link wordsPerRow}]. Bits behind the last
 *  code of a row are zero. */
export async function wordRows(tensor: QuantizedTensor, width: number): Promise<Uint32Array> {
  const { outputs, inputs, bits } = tensor;
  const packed = packedWords(await tensor.codes());
  if (ownStream(tensor, width)) return packed;
  const words = new Uint32Array(outputs * wordsPerRow(width, inputs));
  const shift = widening(tensor, width);
  return repacked(packed, { inputs, bits, width, shift, begin: 0, end: outputs }, words);
}

interface Rows {
  readonly inputs: number;
  readonly bits: number;
  readonly width: number;
  /** Added to every code. */
  readonly shift: number;
  readonly begin: number;
  readonly end: number;
}

/** Rows `begin` to `end` at the beginning of `words`. */
function repacked(
  packed: Uint32Array,
  { inputs, bits, width, shift, begin, end }: Rows,
  words: Uint32Array,
): Uint32Array {
  const perRow = wordsPerRow(width, inputs);
  const rowWords = packedRowBytes(bits, inputs) / 4;
  const row = new Uint32Array(quadsPerRow(inputs));
  // Of the last word of four, what are codes.
  const rest = inputs % 4 === 0 ? -1 : 2 ** (8 * (inputs % 4)) - 1;
  for (let index = begin; index < end; index++) {
    unpackQuads(packed, index * rowWords, bits, shift, row);
    row[row.length - 1] = (row[row.length - 1] ?? 0) & rest;
    joinRow(row, width, words, (index - begin) * perRow, perRow);
  }
  return words.subarray(0, (end - begin) * perRow);
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

/** Integers of up to 8 bits as a stream of `width` bits each, in whole words: zero points along the outputs. */
export function joinedWords(values: Uint8Array, width: number): Uint32Array {
  const words = new Uint32Array(wordsPerRow(width, values.length));
  for (const [k, value] of values.entries()) {
    const at = k * width;
    const word = at >> 5;
    const bit = at & 31;
    words[word] = (words[word] ?? 0) | (value << bit);
    // What does not fit into the word.
    if (bit + width > 32) words[word + 1] = value >>> (32 - bit);
  }
  return words;
}
