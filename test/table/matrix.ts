// What `npm run table` compares: methods by grids, each a part of an experiment file.

import type { ExperimentInput } from '../../src/experiment';
import type { RateName, Rates } from './search';

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
  /** Where its learning rates come from: a search of its own, that of another method, or null: nothing is trained. */
  readonly rates: Search | { readonly of: string } | null;
  readonly quantization: (subject: Subject) => Quantization;
  /** What it says outside of `quantization`. */
  readonly training?: ExperimentInput['training'];
}

/** A search for learning rates: where it begins, and what it varies, the rate that matters most first. */
export interface Search {
  readonly start: Rates;
  readonly names: readonly RateName[];
}

/** A model with its texts. Paths are relative to the experiment files, so that runs are recognised in any other place. */
export interface Subject {
  readonly id: string;
  readonly title: string;
  readonly model: string;
  readonly train: string;
  readonly validation: string;
  /** Two parts of the training text: the search for rates trains on the one and is judged by the other. */
  readonly search: { readonly train: string; readonly heldOut: string };
  readonly packing: 'join' | 'documents';
  /** Weights that share a scale in the columns of groups: must divide every input width. */
  readonly group: number;
  readonly rank: number;
  readonly steps: number;
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
    rates: null,
    quantization: () => ({ method: 'rtn' }),
  },
  {
    id: 'gptq',
    title: 'GPTQ',
    seeded: true,
    rates: null,
    quantization: () => ({ method: 'gptq' }),
  },
  {
    id: 'peqa',
    title: 'PEQA (scales only)',
    seeded: true,
    rates: { start: { scales: 5e-4 }, names: ['scales'] },
    quantization: () => ({ method: 'peqa' }),
  },
  {
    id: 'lsq',
    title: 'LSQ (all weights)',
    seeded: true,
    rates: { start: { weights: 5e-4, scales: 5e-4 }, names: ['weights', 'scales'] },
    quantization: () => ({ method: 'lsq' }),
  },
  {
    id: 'lr-qat',
    title: 'LR-QAT',
    seeded: true,
    rates: { start: { lowRank: 4e-3, scales: 5e-4 }, names: ['lowRank', 'scales'] },
    quantization: (subject) => ({ method: 'lr-qat', lowRank: lowRank(subject) }),
  },
  {
    id: 'lr-qat-gptq',
    title: 'LR-QAT from GPTQ',
    seeded: true,
    rates: { of: 'lr-qat' },
    quantization: (subject) => ({ method: 'lr-qat', lowRank: lowRank(subject), start: { integers: 'gptq' } }),
  },
  {
    id: 'lr-qat-distilled',
    title: 'LR-QAT + distillation',
    seeded: true,
    rates: { of: 'lr-qat' },
    quantization: (subject) => ({ method: 'lr-qat', lowRank: lowRank(subject) }),
    training: { distillation: { weight: 0.75 } },
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

/** What a search is made for: a method at a number of bits, with a scale an output channel. Other grids of these bits take its rates. */
export interface Question {
  readonly subject: Subject;
  readonly method: Method;
  readonly grid: Grid;
}

export const questionName = ({ method, grid }: Question) => `${method.id}-${grid.id}`;

/** Searches of a subject. */
export function questions(subject: Subject): (Question & { readonly search: Search })[] {
  const perChannel = grids(subject).filter(isSearched);
  return METHODS.flatMap((method) => {
    const search = method.rates;
    if (search === null || 'of' in search) return [];
    return perChannel.map((grid) => ({ subject, method, grid, search }));
  });
}

const isSearched = ({ weights, activations }: Grid) => activations === null && weights.granularity === 'per-channel';

/** The search whose rates a cell takes; null: it trains nothing. */
export function questionOf({ subject, method, grid }: Cell): Question | null {
  if (method.rates === null) return null;
  const source = 'of' in method.rates ? method.rates.of : method.id;
  const found = questions(subject).find(
    (each) => each.method.id === source && each.grid.weights.bits === grid.weights.bits,
  );
  if (found === undefined) throw new Error(`${method.id}: no search of '${source}' for ${grid.id}`);
  return found;
}

/** One run of a search. */
export const trialName = (question: Question, rates: Rates) =>
  ['search', questionName(question), ...Object.entries(rates).map(([name, rate]) => `${name}${String(rate)}`)].join(
    '-',
  );

/** @param rates null: of a method that trains nothing */
export const experimentOf = (cell: Cell, rates: Rates | null): ExperimentInput =>
  experiment(cellName(cell), cell, rates, cell.seed, [cell.subject.train, cell.subject.validation]);

export const trialOf = (question: Question, rates: Rates): ExperimentInput =>
  experiment(trialName(question, rates), question, rates, SEEDS[0], [
    question.subject.search.train,
    question.subject.search.heldOut,
  ]);

function experiment(
  name: string,
  { subject, method, grid }: Question,
  rates: Rates | null,
  seed: number,
  [train, validation]: readonly [string, string],
): ExperimentInput {
  return {
    name,
    model: { path: subject.model },
    data: { train: [train], validation: [validation], sequenceLength: 256, packing: subject.packing },
    quantization: { ...method.quantization(subject), weights: grid.weights, activations: grid.activations },
    training: {
      steps: subject.steps,
      batchSize: 8,
      microBatchSize: 8,
      ...(rates === null ? {} : { learningRate: { ...rates } }),
      schedule: 'linear',
      warmupRatio: 0.1,
      seed,
      ...method.training,
    },
    // Once, at the end: the whole of the validation text, or this much of it.
    evaluation: { everySteps: subject.steps, maxBatches: 64 },
    checkpoint: { everySteps: subject.steps, keep: 1 },
    // A machine with a GPU must come to the same table.
    device: 'cpu',
  };
}
