// Integers in 32-bit words, as compressed-tensors and GPTQ keep them: codes Q + 2^(bits−1), lowest bits first, along the inputs. For
// widths that divide 32, and for 3 bits in GPTQ, that is the bit stream of our own rows.
import { packedRowBytes, unpackRow, type QuantizedTensor } from './quantized-tensor';

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
  const words = new Uint32Array(outputs * perRow);
  if (width === bits && rowBytes === perRow * 4 && inputs % 32 === 0) {
    new Uint8Array(words.buffer).set(codes);
    return words;
  }
  const shift = 2 ** (width - 1) - 2 ** (bits - 1);
  const row = new Uint8Array(inputs);
  for (let index = 0; index < outputs; index++) {
    unpackRow(codes, index * rowBytes, bits, row);
    let at = index * perRow;
    let held = 0;
    let heldBits = 0;
    for (const code of row) {
      const value = code + shift;
      held |= value << heldBits;
      heldBits += width;
      if (heldBits >= 32) {
        words[at++] = held >>> 0;
        heldBits -= 32;
        // What of the code did not fit into the word.
        held = heldBits === 0 ? 0 : value >>> (width - heldBits);
      }
    }
    if (heldBits > 0) words[at] = held >>> 0;
  }
  return words;
}
