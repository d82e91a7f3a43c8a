// Small random decoders for tests of the engine: any shape, deterministic weights.

import type { LinearQuantization, TokenBatch } from '../../native/binding/addon';
import { linearNames, linearSize, type LinearName, type ModelShape } from '../../src/formats/model-shape';
import { shiftedTargets, type NamedTensor } from '../goldens/engine-runs';
import { llama } from '../experiment/shapes';

export const SMALL_SHAPE: ModelShape = {
  ...llama,
  hiddenSize: 48,
  intermediateSize: 88,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 12,
  vocabSize: 61,
  maxPositions: 64,
};

export const QUANTIZATION: LinearQuantization = {
  bits: 4,
  groupSize: -1,
  storage: 'fixed-point',
  fractionBits: 4,
  encoding: 'reference',
  range: 'minmax',
  scaleDomain: 'linear',
  learnScales: true,
  rank: 4,
  alpha: 4,
};

/** Mulberry32: 32 bits of state are plenty for test data. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Roughly normal values with the given standard deviation. */
function values(random: () => number, count: number, deviation: number, mean = 0): Float32Array {
  return Float32Array.from({ length: count }, () => {
    const sum = random() + random() + random() + random() - 2;
    return mean + sum * Math.sqrt(3) * deviation;
  });
}

export function randomCheckpoint(shape: ModelShape, seed: number): NamedTensor[] {
  const random = randomSource(seed);
  const tensors: NamedTensor[] = [];
  const add = (name: string, dimensions: number[], deviation: number, mean = 0) => {
    const count = dimensions.reduce((a, b) => a * b, 1);
    tensors.push({ name, shape: dimensions, data: values(random, count, deviation, mean) });
  };
  const { hiddenSize, vocabSize, headDim } = shape;
  add('model.embed_tokens.weight', [vocabSize, hiddenSize], 1);
  if (!shape.tiedEmbeddings) add('lm_head.weight', [vocabSize, hiddenSize], 0.2);
  add('model.norm.weight', [hiddenSize], 0.1, 1);
  for (let layer = 0; layer < shape.layers; layer++) {
    add(`model.layers.${String(layer)}.input_layernorm.weight`, [hiddenSize], 0.1, 1);
    add(`model.layers.${String(layer)}.post_attention_layernorm.weight`, [hiddenSize], 0.1, 1);
    if (!shape.qkNorm) continue;
    add(`model.layers.${String(layer)}.self_attn.q_norm.weight`, [headDim], 0.1, 1);
    add(`model.layers.${String(layer)}.self_attn.k_norm.weight`, [headDim], 0.1, 1);
  }
  for (const name of linearNames(shape)) {
    const linear = name.split('.').slice(3).join('.') as LinearName;
    const { outputs, inputs } = linearSize(shape, linear);
    add(`${name}.weight`, [outputs, inputs], 1 / Math.sqrt(inputs));
    const attention = linear.startsWith('self_attn');
    const bias = linear === 'self_attn.o_proj' ? shape.outputBias : attention ? shape.qkvBias : shape.mlpBias;
    if (bias) add(`${name}.bias`, [outputs], 0.1);
  }
  return tensors;
}

export function randomBatch(shape: ModelShape, sequences: number, length: number, seed: number): TokenBatch {
  const random = randomSource(seed);
  const tokens = Int32Array.from({ length: sequences * length }, () => Math.floor(random() * shape.vocabSize));
  return { tokens, targets: shiftedTargets(tokens, length) };
}
