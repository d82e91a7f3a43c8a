// GGUF's block types, written from integers and scales that exist already (ggml calls this quantized data; nothing is quantized
// here). Every type holds Ŵ = s ∘ Q exactly when s is a half-precision number and Q lies in the type's range: sub-block scales
// are the integer 1 and the block's own scale is s. Layouts: ggml-common.h and ggml-quants.c of llama.cpp.
import { packedWords, quadsPerRow, unpackQuads } from './code-quads';
import { packQ2K, packQ3K, packStreamQ2K } from './gguf-bit-blocks';
import {
  packQ40,
  packQ41,
  packQ4K,
  packQ80,
  packStreamQ40,
  packStreamQ41,
  packStreamQ4K,
  type BlockBuffer,
  type PackBlocks,
  type RowOfBlocks,
} from './gguf-number-blocks';
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
  /** Takes integers plus 2^(maxBits−1), with a zero point of its own codes, four to a word. */
  readonly pack: PackBlocks;
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
      type.pack(quads, 0, of, out, at);
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
const STREAMS: ReadonlyMap<string, PackBlocks> = new Map([
  ['Q4_0 4', packStreamQ40],
  ['Q4_1 4', packStreamQ41],
  ['Q4_K 4', packStreamQ4K],
  ['Q2_K 2', packStreamQ2K],
]);
