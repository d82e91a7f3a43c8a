// The matrix products of a training step that go to the GEMM library, for measuring what the machine can do at exactly these
// shapes and element types. Attention is not among them: its products are small and fused with the softmax.

import type { ComputeType, GemmProduct } from '../../native/binding/addon';
import { FIRST_INPUT_LINEARS } from '../../src/experiment/cost';
import { logitRows, type EngineLayout } from '../../src/experiment/engine-layout';
import { LINEAR_NAMES, linearSize, type LinearName } from '../../src/formats/model-shape';

/** C [rows, columns] = A [rows, inner] · B [inner, columns], `count` times a micro-batch. */
export interface GemmShape extends GemmProduct {
  readonly name: string;
  /** Element type of C. */
  readonly result: ComputeType;
  readonly accumulate: boolean;
  readonly count: number;
}

/** Linears that share an input sum its gradient in float32, one after the other; the others' is the gradient of a compute-type
 *  activation. */
const SUMMED: Partial<Record<LinearName, 'first' | 'added'>> = {
  'self_attn.q_proj': 'first',
  'self_attn.k_proj': 'added',
  'self_attn.v_proj': 'added',
  'mlp.gate_proj': 'first',
  'mlp.up_proj': 'added',
};

/** Forward and input gradient of every linear and of the head, for a micro-batch, without recomputation. */
export function gemmShapes(layout: EngineLayout): GemmShape[] {
  const { shape: model, compute } = layout;
  const tokens = layout.microBatchSize * layout.sequenceLength;
  const linears = LINEAR_NAMES.flatMap((linear): GemmShape[] => {
    const { outputs, inputs } = linearSize(model, linear);
    const summed = SUMMED[linear];
    return [
      {
        ...{ name: `${linear} forward`, rows: tokens, columns: outputs, inner: inputs, transposeB: true },
        ...{ result: compute, accumulate: false, count: model.layers },
      },
      {
        ...{ name: `${linear} dX`, rows: tokens, columns: inputs, inner: outputs, transposeB: false },
        ...{ result: summed === undefined ? compute : 'float32', accumulate: summed === 'added' },
        count: model.layers - (FIRST_INPUT_LINEARS.includes(linear) ? 1 : 0),
      },
    ];
  });
  // As the decoder cuts the tokens for the head.
  const most = logitRows(layout);
  const parts = [
    { rows: most, count: Math.floor(tokens / most) },
    { rows: tokens % most, count: 1 },
  ].filter(({ rows }) => rows > 0);
  const head = parts.flatMap(({ rows, count }): GemmShape[] => {
    const common = { rows, count, result: 'float32', accumulate: false } as const;
    return [
      { ...common, name: 'head forward', columns: model.vocabSize, inner: model.hiddenSize, transposeB: true },
      { ...common, name: 'head dX', columns: model.hiddenSize, inner: model.vocabSize, transposeB: false },
    ];
  });
  return [...linears, ...head];
}

export const gemmFlops = (shape: GemmShape): number => 2 * shape.rows * shape.columns * shape.inner * shape.count;
