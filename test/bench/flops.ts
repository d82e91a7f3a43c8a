// Floating-point operations of one LR-QAT training step, a token and by part. A multiply-add counts as two. Only what the method
// needs is counted: recomputation under activation checkpointing is not (it is overhead, not work).

import { LINEAR_NAMES, linearSize, type ModelShape } from '../../src/formats/model-shape';

export interface StepShape {
  readonly model: ModelShape;
  /** Tokens of a sequence. */
  readonly sequenceLength: number;
  /** Sequences of a micro-batch; integers are rebuilt once a micro-batch and direction. */
  readonly microBatchSize: number;
  readonly rank: number;
}

/** Operations a token; every part named as docs/method.md names it. */
export interface FlopsPerToken {
  /** Y = X Qᵀ of all quantized linears. */
  readonly linearForward: number;
  /** dX = dY Ŵ. */
  readonly linearBackward: number;
  /** U = X Bᵀ, V = (dY∘s) A, dYᵀU, VᵀX. */
  readonly lowRankGradients: number;
  /** A·B, in forward and backward, spread over the tokens of a micro-batch. */
  readonly rebuild: number;
  /** QKᵀ and PV over the causal half, and their five products in the backward. */
  readonly attention: number;
  /** Logits and the gradient of the head's input; the head itself is frozen. */
  readonly head: number;
  readonly total: number;
}

export function flopsPerToken({ model, sequenceLength, microBatchSize, rank }: StepShape): FlopsPerToken {
  let weights = 0;
  let sides = 0;
  for (const linear of LINEAR_NAMES) {
    const { outputs, inputs } = linearSize(model, linear);
    weights += model.layers * outputs * inputs;
    sides += model.layers * (outputs + inputs);
  }
  const linearForward = 2 * weights;
  const linearBackward = 2 * weights;
  const lowRankGradients = 4 * rank * sides;
  const rebuild = (2 * 2 * weights * rank) / (microBatchSize * sequenceLength);
  // A query sees (T + 1) / 2 keys on average; each product costs two operations a key and head dimension.
  const keys = (sequenceLength + 1) / 2;
  const attention = (2 + 5) * 2 * keys * model.heads * model.headDim * model.layers;
  const head = 2 * 2 * model.vocabSize * model.hiddenSize;
  const total = linearForward + linearBackward + lowRankGradients + rebuild + attention + head;
  return { linearForward, linearBackward, lowRankGradients, rebuild, attention, head, total };
}

/** One product of the step: C[rows, columns] += A[rows, inner]·B[inner, columns], `count` times a micro-batch. */
export interface GemmShape {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  readonly count: number;
}

/** The library products of a micro-batch, attention aside (its products are small and fused with the softmax). */
export function gemmShapes({ model, sequenceLength, microBatchSize }: StepShape): GemmShape[] {
  const tokens = microBatchSize * sequenceLength;
  const shapes: GemmShape[] = [];
  for (const linear of LINEAR_NAMES) {
    const { outputs, inputs } = linearSize(model, linear);
    const count = model.layers;
    shapes.push({ name: `${linear} forward`, rows: tokens, columns: outputs, inner: inputs, count });
    shapes.push({ name: `${linear} dX`, rows: tokens, columns: inputs, inner: outputs, count });
  }
  shapes.push({ name: 'logits', rows: tokens, columns: model.vocabSize, inner: model.hiddenSize, count: 1 });
  shapes.push({ name: 'logits dX', rows: tokens, columns: model.hiddenSize, inner: model.vocabSize, count: 1 });
  return shapes;
}
