// The published recipe of LR-QAT and what an experiment does otherwise. Source: arXiv 2406.06385 and the training commands that
// its authors published with their code; where these leave a choice, each of their values counts as the recipe's.

import { FLOAT_GROUPS } from './float-parameters';
import { pathText, type KeyPath } from './problem';
import type { Experiment } from './schema';

export interface RecipeDifference {
  readonly path: KeyPath;
  /** What the experiment says. */
  readonly value: unknown;
  /** The recipe's values, the main one first. */
  readonly recipe: readonly unknown[];
  /** Which setting of the paper, or why it matters; one sentence. */
  readonly note: string;
}

interface Setting {
  readonly path: KeyPath;
  readonly read: (experiment: Experiment) => unknown;
  readonly recipe: (experiment: Experiment) => readonly unknown[];
  readonly note: string;
}

const SEARCHED = ['mse', 'lp-2.4', 'lp-3', 'lp-3.5', 'lp-4', 'lp-5'] as const;

const method: Setting = {
  path: ['quantization', 'method'],
  read: ({ quantization }) => quantization.method,
  recipe: () => ['lr-qat'],
  note: 'Rounding to nearest, GPTQ, training scales alone and training all weights (LSQ) are baselines that the paper compares with.',
};

const settings: readonly Setting[] = [
  {
    path: ['data', 'sequenceLength'],
    read: ({ data }) => data.sequenceLength,
    recipe: () => [1024],
    note: 'Training sequences of all main results.',
  },
  {
    path: ['data', 'packing'],
    read: ({ data }) => data.packing,
    recipe: () => ['join'],
    note: 'Texts are joined and cut into blocks.',
  },
  {
    path: ['quantization', 'weights', 'bits'],
    read: ({ quantization }) => quantization.weights.bits,
    recipe: () => [4, 3, 2],
    note: 'Weight-only results are given for 4, 3 and 2 bits.',
  },
  {
    path: ['quantization', 'weights', 'granularity'],
    read: ({ quantization }) => quantization.weights.granularity,
    recipe: () => ['per-channel', { group: 128 }],
    note: 'Scales per output channel, and groups of 128 in a second set of results.',
  },
  {
    path: ['quantization', 'weights', 'range'],
    read: ({ quantization }) => quantization.weights.range,
    recipe: ({ quantization: { weights } }) =>
      weights.bits === 4 && weights.granularity === 'per-channel'
        ? ['lp-4']
        : [...SEARCHED].sort((a, b) => Number(b === 'lp-4') - Number(a === 'lp-4')),
    note: 'Grid search over the exponent, picked per setting by rounding to nearest; lp-4 is published for 4 bits per channel.',
  },
  {
    path: ['quantization', 'weights', 'symmetric'],
    read: ({ quantization }) => quantization.weights.symmetric,
    recipe: ({ quantization }) => [quantization.weights.bits !== 2],
    note: 'Symmetric at 3 and 4 bits; the 2-bit results have zero points.',
  },
  {
    path: ['quantization', 'weights', 'scaleDomain'],
    read: ({ quantization }) => quantization.weights.scaleDomain,
    recipe: () => ['linear'],
    note: 'The scale itself is trained.',
  },
  {
    path: ['quantization', 'activations'],
    read: ({ quantization }) => quantization.activations,
    recipe: ({ quantization: { activations, weights } }) =>
      weights.bits === 4 && (activations === 'a8' || activations === 'a8-kv4' || activations === 'a4')
        ? [activations]
        : [null],
    note: 'Weights alone but in the W4A8, W4A8KV4 and W4A4 results; whether those have the norms’ outputs among them was not published.',
  },
  {
    path: ['quantization', 'storage'],
    read: ({ quantization }) => quantization.storage,
    recipe: () => ['fixed-point'],
    note: 'Frozen weights in 8-bit fixed point.',
  },
  {
    path: ['quantization', 'fractionBits'],
    read: ({ quantization }) => quantization.fractionBits,
    recipe: ({ quantization }) => [null, Math.max(0, 8 - quantization.weights.bits)],
    note: 'All of the 8 bits: Q4.4 at 4 bits, Q3.5 at 3.',
  },
  {
    path: ['quantization', 'lowRank', 'rank'],
    read: ({ quantization }) => quantization.lowRank.rank,
    recipe: () => [32],
    note: 'Ranks 1, 4, 32 and 256 are compared; 32 is used for the results.',
  },
  {
    path: ['quantization', 'lowRank', 'alpha'],
    read: ({ quantization }) => quantization.lowRank.alpha,
    recipe: () => [1],
    note: 'γ = alpha / rank = 1/32.',
  },
  {
    path: ['quantization', 'start', 'integers'],
    read: ({ quantization }) => quantization.start.integers,
    recipe: () => ['round-to-nearest'],
    note: 'Training starts from round-to-nearest.',
  },
  {
    path: ['quantization', 'start', 'lowRank'],
    read: ({ quantization }) => quantization.start.lowRank,
    recipe: () => ['zero'],
    note: 'A·B starts at zero; an SVD start is an option for integer storage.',
  },
  {
    path: ['quantization', 'learnScales'],
    read: ({ quantization }) => quantization.learnScales,
    recipe: () => [true],
    note: 'Scales are trained together with A and B.',
  },
  {
    path: ['quantization', 'layers'],
    read: ({ quantization }) => quantization.layers,
    recipe: () => [[]],
    note: 'All linears of the decoder blocks are treated alike.',
  },
  {
    path: ['training', 'steps'],
    read: ({ training }) => training.steps,
    recipe: () => [10_000],
    note: '10 000 steps of 32 × 1024 tokens: 328 million tokens.',
  },
  {
    path: ['training', 'batchSize'],
    read: ({ training }) => training.batchSize,
    recipe: () => [32],
    note: 'Sequences of one optimiser step.',
  },
  {
    path: ['training', 'learningRate', 'lowRank'],
    read: ({ training }) => training.learningRate.lowRank,
    recipe: () => [1e-3],
    note: 'Searched from 1e-5 to 1e-2.',
  },
  {
    path: ['training', 'learningRate', 'scales'],
    read: ({ training }) => training.learningRate.scales,
    recipe: ({ quantization }) => (quantization.weights.bits === 2 ? [1e-5, 1e-4] : [1e-5, 0]),
    note: 'Searched: 0 or 1e-5 at 3 and 4 bits, 1e-5 or 1e-4 at 2 bits.',
  },
  ...FLOAT_GROUPS.map((group): Setting => ({
    path: ['training', 'learningRate', group],
    read: ({ training }) => training.learningRate[group],
    recipe: () => [null, 0],
    note: 'Norms, head and embeddings stay as they are.',
  })),
  {
    path: ['training', 'schedule'],
    read: ({ training }) => training.schedule,
    recipe: () => ['linear'],
    note: 'Linear to zero after the warm-up.',
  },
  {
    path: ['training', 'warmupRatio'],
    read: ({ training }) => training.warmupRatio,
    recipe: () => [0.1],
    note: '1 000 of 10 000 steps.',
  },
  {
    path: ['training', 'finalLearningRateRatio'],
    read: ({ training }) => training.finalLearningRateRatio,
    recipe: () => [0],
    note: 'Learning rates fall to zero.',
  },
  {
    path: ['training', 'beta1'],
    read: ({ training }) => training.beta1,
    recipe: () => [0.9],
    note: 'AdamW.',
  },
  {
    path: ['training', 'beta2'],
    read: ({ training }) => training.beta2,
    recipe: () => [0.95],
    note: 'AdamW.',
  },
  {
    path: ['training', 'epsilon'],
    read: ({ training }) => training.epsilon,
    recipe: () => [1e-8],
    note: 'AdamW.',
  },
  {
    path: ['training', 'weightDecay'],
    read: ({ training }) => training.weightDecay,
    recipe: () => [0],
    note: 'No decay of A, B and scales.',
  },
  {
    path: ['training', 'gradientClip'],
    read: ({ training }) => training.gradientClip,
    recipe: () => [1],
    note: 'Global L2 norm.',
  },
  {
    path: ['training', 'distillation', 'weight'],
    read: ({ training }) => training.distillation.weight,
    recipe: () => [0],
    note: 'Cross-entropy on the text alone.',
  },
];

/** Paths that the recipe says something about. */
export const recipePaths: readonly string[] = [method, ...settings].map(({ path }) => pathText(path));

/** What differs, in the order of the file's sections. Settings that do not change the result (memory, threads, how often is
 *  measured) are no part of the recipe; of a run without training only the method is. */
export function recipeDifferences(experiment: Experiment): RecipeDifference[] {
  const relevant = experiment.quantization.method === 'lr-qat' ? settings : [method];
  return relevant.flatMap(({ path, read, recipe, note }) => {
    const value = read(experiment);
    const values = recipe(experiment);
    return values.some((each) => same(each, value)) ? [] : [{ path, value, recipe: values, note }];
  });
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
