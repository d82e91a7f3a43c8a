// Work of a training step by part, in floating-point operations and in bytes moved; the same formulas for every machine.

import type { LinearQuantization } from '../../native/binding/addon';
import { LINEAR_NAMES, linearSize, type LinearName, type ModelShape } from '../formats/model-shape';
import { byteSize, ownActivations, trainsHead, type EngineLayout } from './engine-layout';
import { allTrainedNumbers } from './memory-layout';
import { codeBits, packedRowBytes, quantizedLinears, trainsWeights } from './quantized-linears';

/** What reads the input of a block. */
export const FIRST_INPUT_LINEARS: readonly LinearName[] = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];

/** Floating-point operations (a multiply-add counts as two). */
export interface FlopParts {
  /** Products of activations with whole weights, forward, backward and recomputed. */
  readonly linears: number;
  /** Output head, forward and backward. */
  readonly head: number;
  readonly attention: number;
  /** Thin products that give the gradients of A and B (lr-qat.md §2.1). */
  readonly lowRankGradients: number;
  /** Whole weight gradients: of trained weights, and tile by tile for trained group scales. */
  readonly groupGradients: number;
  /** A·B while weights are rebuilt. */
  readonly rebuild: number;
}

/** Bytes read and written by what is bound by memory. */
export interface ByteParts {
  readonly activations: number;
  /** Rebuilt weights written, Φ0 read. */
  readonly rebuild: number;
  readonly optimizer: number;
}

export interface StepCost {
  readonly flops: FlopParts;
  readonly bytes: ByteParts;
  readonly tokens: number;
}

/** Cost of one optimiser step of `batchSize` sequences. */
export function trainingStepCost(plan: EngineLayout, batchSize: number): StepCost {
  const computedAgain = plan.shape.layers - ownActivations(plan);
  const micro = microBatchCost(plan, 1 + computedAgain / plan.shape.layers, true);
  const repeats = batchSize / plan.microBatchSize;
  const { tokens, flops, bytes } = scaledCost(micro, repeats);
  const rebuilds = plan.rebuiltWeights === 'keep' ? 1 : repeats * passesOf(plan);
  const once = rebuildCost(plan);
  // AdamW reads value, gradient and both moments and writes three of them; clearing and the norm touch gradients again.
  const optimizer = allTrainedNumbers(plan) * 4 * 9;
  return {
    tokens,
    flops: { ...flops, rebuild: once.flops * rebuilds },
    bytes: { ...bytes, rebuild: once.bytes * rebuilds, optimizer },
  };
}

/** Forward, what is computed again, and backward. */
function passesOf(plan: EngineLayout): number {
  return 2 + (plan.shape.layers - ownActivations(plan)) / plan.shape.layers;
}

/** Cost of evaluating one micro-batch. */
export function evaluationCost(plan: EngineLayout): StepCost {
  return microBatchCost(plan, 1, false);
}

function microBatchCost(plan: EngineLayout, forwards: number, backward: boolean): StepCost {
  const { shape, microBatchSize, sequenceLength } = plan;
  const tokens = microBatchSize * sequenceLength;
  const passes = forwards + (backward ? 1 : 0);
  const linears = quantizedLinears(plan);
  const product = 2 * tokens * shape.layers * weightsOf(shape, LINEAR_NAMES);
  // Nobody asks for the gradient of the first block's input unless the embeddings or its norm are trained.
  const unasked =
    backward && plan.trainedFloats?.embeddings !== true && plan.trainedFloats?.norms !== true
      ? 2 * tokens * weightsOf(shape, FIRST_INPUT_LINEARS)
      : 0;
  const visible = averageVisibleKeys(shape, sequenceLength);
  // Scores and their use are two products forward; five backward, as the scores are computed again.
  const attention = 2 * 2 * tokens * visible * shape.heads * shape.headDim * shape.layers;
  const withGroups = linears.filter(({ spec }) => trainsGroups(spec) || trainsWeights(spec));
  const thin = linears.filter(({ spec }) => spec.rank > 0 && !trainsGroups(spec));
  const head = 2 * tokens * shape.vocabSize * shape.hiddenSize;
  const rebuild = rebuildCost(plan);
  return {
    tokens,
    flops: {
      linears: product * passes - unasked,
      head: head * (backward ? (trainsHead(plan) ? 3 : 2) : 1),
      attention: attention * (forwards + (backward ? 2.5 : 0)),
      lowRankGradients: backward
        ? sumOf(thin, ({ spec, outputs, inputs }) => 4 * tokens * spec.rank * (outputs + inputs))
        : 0,
      groupGradients: backward
        ? sumOf(withGroups, ({ spec, outputs, inputs }) => 2 * outputs * inputs * (tokens + 2 * spec.rank))
        : 0,
      rebuild: rebuild.flops * passes,
    },
    bytes: {
      activations:
        tokens * (shape.layers * blockBytes(plan) * (forwards + (backward ? 2 : 0)) + headBytes(plan, backward)),
      rebuild: rebuild.bytes * passes,
      optimizer: 0,
    },
  };
}

/** Of making all weights from Φ0, A and B once. */
function rebuildCost(plan: EngineLayout): { readonly flops: number; readonly bytes: number } {
  const linears = quantizedLinears(plan);
  const weights = sumOf(linears, ({ outputs, inputs }) => outputs * inputs);
  const codes = sumOf(linears, ({ spec, outputs, inputs }) => outputs * packedRowBytes(codeBits(spec), inputs));
  return {
    flops: sumOf(linears, ({ spec, outputs, inputs }) => 2 * outputs * inputs * spec.rank),
    bytes: weights * byteSize(plan.compute) + codes,
  };
}

/** Group scales that are trained need G tile by tile; frozen ones keep the thin form (lr-qat.md §2.1). */
function trainsGroups(spec: LinearQuantization): boolean {
  return spec.groupSize > 0 && spec.learnScales;
}

/** Weights of these linears of a block. */
function weightsOf(shape: ModelShape, linears: readonly LinearName[]): number {
  return sumOf(linears, (linear) => {
    const { outputs, inputs } = linearSize(shape, linear);
    return outputs * inputs;
  });
}

/** Keys that a query of a causal sequence sees on average, with a sliding window where the model has one. */
export function averageVisibleKeys(shape: ModelShape, sequenceLength: number): number {
  const window = Math.min(shape.slidingWindow ?? sequenceLength, sequenceLength);
  return ((window * (window + 1)) / 2 + (sequenceLength - window) * window) / sequenceLength;
}

/** Bytes a token moves through norms, head transforms, SwiGLU and residual sums of one block, forward. */
function blockBytes({ shape, compute, residual }: EngineLayout): number {
  const e = byteSize(compute);
  const x = byteSize(residual);
  const heads = (shape.heads + 2 * shape.kvHeads) * shape.headDim;
  return (
    2 * shape.hiddenSize * (x + e) + 2 * heads * e + 3 * shape.intermediateSize * e + 2 * shape.hiddenSize * (2 * x + e)
  );
}

/** Bytes a token moves through the loss: logits written, read twice, and as gradient once more. */
function headBytes({ shape, compute }: EngineLayout, backward: boolean): number {
  return shape.vocabSize * (backward ? 4 * 4 + byteSize(compute) : 3 * 4);
}

/** `factor` times the same work. */
export function scaledCost(cost: StepCost, factor: number): StepCost {
  const times = <T extends object>(parts: T): T =>
    Object.fromEntries(Object.entries(parts).map(([key, value]) => [key, Number(value) * factor])) as T;
  return { tokens: cost.tokens * factor, flops: times(cost.flops), bytes: times(cost.bytes) };
}

export function sumOf<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
