// Model shapes of the tables in engine.md, and small ones.

import type { ModelShape } from '../../src/formats/model-shape';

/** What LLaMA models have in common, with the sizes of LLaMA-2-7B's heads and vocabulary. */
export const llama = {
  architecture: 'llama',
  headDim: 128,
  vocabSize: 32000,
  maxPositions: 4096,
  rmsNormEpsilon: 1e-5,
  ropeTheta: 10000,
  ropeScaling: { type: 'none' },
  slidingWindow: null,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedEmbeddings: false,
} as const;

export const llama7B: ModelShape = {
  ...llama,
  hiddenSize: 4096,
  intermediateSize: 11008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
};

export const llama13B: ModelShape = {
  ...llama,
  hiddenSize: 5120,
  intermediateSize: 13824,
  layers: 40,
  heads: 40,
  kvHeads: 40,
};

export const llama70B: ModelShape = {
  ...llama,
  hiddenSize: 8192,
  intermediateSize: 28672,
  layers: 80,
  heads: 64,
  kvHeads: 8,
};

/** Widths that are no multiple of 32 (172), grouped-query attention, tied embeddings. */
export const tiny: ModelShape = {
  ...llama,
  hiddenSize: 64,
  intermediateSize: 172,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocabSize: 512,
  maxPositions: 128,
  tiedEmbeddings: true,
};
