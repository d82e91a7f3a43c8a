// The matrix products of a training step that go to the GEMM library, for measuring what the machine can do at exactly these
// shapes. Attention is not among them: its products are small and fused with the softmax.

import { LINEAR_NAMES, linearSize, type ModelShape } from '../../src/formats/model-shape';

/** C [rows, columns] = A [rows, inner] · B [inner, columns], `count` times a micro-batch. */
export interface GemmShape {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** B is given as [columns, inner] (forward: X Qᵀ) or as [inner, columns] (backward: dY Q). */
  readonly transposeB: boolean;
  readonly count: number;
}

/** Forward and input gradient of every linear and of the head, for a micro-batch of `tokens`, without recomputation. */
export function gemmShapes(model: ModelShape, tokens: number): GemmShape[] {
  const pair = (name: string, outputs: number, inputs: number, count: number): GemmShape[] => [
    { name: `${name} forward`, rows: tokens, columns: outputs, inner: inputs, transposeB: true, count },
    { name: `${name} dX`, rows: tokens, columns: inputs, inner: outputs, transposeB: false, count },
  ];
  return [
    ...LINEAR_NAMES.flatMap((linear) => {
      const { outputs, inputs } = linearSize(model, linear);
      return pair(linear, outputs, inputs, model.layers);
    }),
    ...pair('head', model.vocabSize, model.hiddenSize, 1),
  ];
}

export const gemmFlops = (shape: GemmShape): number => 2 * shape.rows * shape.columns * shape.inner * shape.count;
