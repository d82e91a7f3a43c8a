// What `npm run table` compares: methods by grids, each a part of an experiment file.

import type { ExperimentInput } from '../../src/experiment';

type Quantization = NonNullable<ExperimentInput['quantization']>;
type Weights = NonNullable<Quantization['weights']>;

/** A column: the grid of the weights. */
export interface Grid {
  readonly id: string;
  readonly title: string;
  readonly weights: Weights;
  readonly activations: NonNullable<Quantization['activations']> | null;
}

/** A row: how the weights get there. */
export interface Method {
  readonly id: string;
  readonly title: string;
  /** Without it nothing depends on the seed, and one run tells all. */
  readonly seeded: boolean;
  readonly quantization: (subject: Subject) => Quantization;
}

/** A model with its texts. */
export interface Subject {
  readonly id: string;
  readonly title: string;
  readonly model: string;
  readonly train: string;
  readonly validation: string;
  readonly packing: 'join' | 'documents';
  /** Weights that share a scale in the columns of groups: must divide every input width. */
  readonly group: number;
  readonly rank: number;
  readonly steps: number;
  readonly learningRate: { readonly lowRank: number; readonly scales: number; readonly weights?: number };
}

/** The paper's bits: symmetric at 4 and 3, with zero points at 2, then 4 bits with quantized activations. One search of ranges for
 *  all, so that no column is tuned. */
export function grids({ group }: Subject): Grid[] {
  const widths = [
    { bits: 4, symmetric: true },
    { bits: 3, symmetric: true },
    { bits: 2, symmetric: false },
  ] as const;
  const weightsOnly = widths.flatMap(({ bits, symmetric }) =>
    (['per-channel', { group }] as const).map((granularity): Grid => {
      const grouped = typeof granularity !== 'string';
      return {
        id: `w${String(bits)}${grouped ? `g${String(group)}` : ''}`,
        title: `W${String(bits)}${symmetric ? '' : ' asym.'} ${grouped ? `g${String(group)}` : 'pc'}`,
        weights: { bits, granularity, range: 'mse', symmetric },
        activations: null,
      };
    }),
  );
  const withActivations = (['a8', 'a8-kv4', 'a4'] as const).map((activations): Grid => {
    const name = activations.replace('-', '');
    return {
      id: `w4${name}`,
      title: `W4${name.toUpperCase()} pc`,
      weights: { bits: 4, granularity: 'per-channel', range: 'mse' },
      activations,
    };
  });
  return [...weightsOnly, ...withActivations];
}

const lowRank = ({ rank }: Subject) => ({ rank, alpha: rank });

export const METHODS: readonly Method[] = [
  {
    id: 'rtn',
    title: 'round to nearest',
    seeded: false,
    quantization: () => ({ method: 'rtn' }),
  },
  {
    id: 'gptq',
    title: 'GPTQ',
    seeded: true,
    quantization: () => ({ method: 'gptq' }),
  },
  {
    id: 'peqa',
    title: 'PEQA (scales only)',
    seeded: true,
    quantization: () => ({ method: 'peqa' }),
  },
  {
    id: 'lsq',
    title: 'LSQ (all weights)',
    seeded: true,
    quantization: () => ({ method: 'lsq' }),
  },
  {
    id: 'lr-qat',
    title: 'LR-QAT',
    seeded: true,
    quantization: (subject) => ({ method: 'lr-qat', lowRank: lowRank(subject) }),
  },
  {
    id: 'lr-qat-gptq',
    title: 'LR-QAT from GPTQ',
    seeded: true,
    quantization: (subject) => ({ method: 'lr-qat', lowRank: lowRank(subject), start: { integers: 'gptq' } }),
  },
];

export const SEEDS = [1000, 1001] as const;

/** One run of the table. */
export interface Cell {
  readonly subject: Subject;
  readonly method: Method;
  readonly grid: Grid;
  readonly seed: number;
}

export function cells(subject: Subject): Cell[] {
  return METHODS.flatMap((method) =>
    grids(subject).flatMap((grid) =>
      (method.seeded ? SEEDS : SEEDS.slice(0, 1)).map((seed) => ({ subject, method, grid, seed })),
    ),
  );
}

export const cellName = ({ method, grid, seed }: Cell) => `${method.id}-${grid.id}-seed${String(seed)}`;

export function experimentOf(cell: Cell): ExperimentInput {
  const { subject, method, grid, seed } = cell;
  return {
    name: cellName(cell),
    model: { path: subject.model },
    data: {
      train: [subject.train],
      validation: [subject.validation],
      sequenceLength: 256,
      packing: subject.packing,
    },
    quantization: { ...method.quantization(subject), weights: grid.weights, activations: grid.activations },
    training: {
      steps: subject.steps,
      batchSize: 8,
      microBatchSize: 8,
      learningRate: { ...subject.learningRate },
      schedule: 'linear',
      warmupRatio: 0.1,
      seed,
    },
    // Once, at the end: the whole of the validation text, or this much of it.
    evaluation: { everySteps: subject.steps, maxBatches: 64 },
    checkpoint: { everySteps: subject.steps, keep: 1 },
  };
}
