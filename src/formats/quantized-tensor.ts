// The integers and scales of one quantized linear, as the trainer merges them and every export format takes them:
// Ŵ = s ∘ Q, Q in [−2^(bits−1), 2^(bits−1) − 1]; with zero points Ŵ = s ∘ (Q − z), Q and z in [0, 2^bits − 1]. Either way the
// stored codes are 0 … 2^bits − 1 and Ŵ = s ∘ (code − z) where a symmetric linear has z = 2^(bits−1).

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
  /** z, one a scale in the order of the scales; absent: the grid is symmetric. */
  readonly zeroPoints?: () => Promise<Uint8Array>;
  /** Offset codes Q + 2^(bits−1), with zero points Q itself: a little-endian bit stream a row, {@link packedRowBytes} long. */
  codes(): Promise<Uint8Array>;
}

/** What takes codes of a linear to codes of `width` bits with the same numbers: a symmetric grid keeps its middle in the middle, one
 *  with zero points keeps codes and zero points as they are. */
export function widening({ bits, zeroPoints }: Pick<QuantizedTensor, 'bits' | 'zeroPoints'>, width: number): number {
  return zeroPoints === undefined ? 2 ** (width - 1) - 2 ** (bits - 1) : 0;
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
