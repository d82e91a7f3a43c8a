// Perplexity against what a model costs: the points of the picture and which of them are on the front. Pure.
import { activationName } from '../experiment/activations';
import type { Experiment } from '../experiment/schema';
import { distinctTitles, type RunFacts } from './facts';
import type { Unit } from './metrics';
import { showNumber } from './show';

export type CostKey = 'bitsPerWeight' | 'modelBytes' | 'peakMemoryBytes';

export interface Cost {
  readonly key: CostKey;
  readonly label: string;
  readonly unit: Unit;
}

export const COSTS: readonly Cost[] = [
  { key: 'bitsPerWeight', label: 'bits per weight', unit: 'bits' },
  { key: 'modelBytes', label: 'model size', unit: 'bytes' },
  { key: 'peakMemoryBytes', label: 'peak memory of training', unit: 'bytes' },
];

export type PointKind = 'run' | 'float' | 'round-to-nearest';

export interface ParetoPoint {
  readonly kind: PointKind;
  readonly label: string;
  /** Indices of the runs that have it: one for a run's own point. */
  readonly runs: readonly number[];
  readonly cost: number;
  readonly perplexity: number;
  /** Nothing costs less and is as good, and nothing is better for the same. */
  readonly onFront: boolean;
}

/** A perplexity without a cost: drawn as a line. */
export interface Reference {
  readonly kind: Exclude<PointKind, 'run'>;
  readonly label: string;
  readonly perplexity: number;
}

export interface Pareto {
  readonly cost: Cost;
  readonly points: readonly ParetoPoint[];
  /** Float and round-to-nearest where the cost is one of training, which they have not. */
  readonly references: readonly Reference[];
  /** Indices of runs without a point: no perplexity or no cost (yet). */
  readonly missing: readonly number[];
  /** The runs were not measured against the same float perplexity: on other models or texts, so that none is better than another. */
  readonly isMixed: boolean;
}

/** Perplexity of the merged weights, which are what is shipped; of the trained ones where there are none. */
export function perplexityOf({ metrics }: RunFacts): number | null {
  return metrics['perplexity.merged'] ?? metrics['perplexity.trained'] ?? metrics['bestTrained'] ?? null;
}

export function pareto(runs: readonly RunFacts[], key: CostKey): Pareto {
  const cost = COSTS.find((each) => each.key === key) ?? { key, label: key, unit: 'bits' };
  const titles = distinctTitles(runs);
  const drafts: Omit<ParetoPoint, 'onFront'>[] = [];
  const missing: number[] = [];
  runs.forEach((run, index) => {
    const [x, y] = [run.metrics[key] ?? null, perplexityOf(run)];
    if (x === null || y === null || !(x > 0) || !(y > 0)) missing.push(index);
    else drafts.push({ kind: 'run', label: titles[index] ?? run.name, runs: [index], cost: x, perplexity: y });
  });
  const shared = [
    ...sharedPoints('float', runs, key === 'peakMemoryBytes' ? null : ({ float }) => float?.[key] ?? null),
    // Rounded to nearest a model takes what the trained one takes.
    ...sharedPoints('round-to-nearest', runs, key === 'peakMemoryBytes' ? null : ({ metrics }) => metrics[key] ?? null),
  ];
  const named = withLabels(shared, runs, cost);
  for (const { cost: x, ...point } of named) if (x !== null) drafts.push({ ...point, cost: x });
  const front = onFront(drafts);
  const floats = runs.flatMap(({ metrics }) => metrics['perplexity.float'] ?? []);
  return {
    cost,
    points: drafts.map((point, index) => ({ ...point, onFront: front[index] === true })),
    references: named.flatMap(({ kind, label, perplexity, cost: x }) =>
      x === null ? [{ kind, label, perplexity }] : [],
    ),
    missing,
    isMixed: floats.length > 0 && Math.max(...floats) > Math.min(...floats) * (1 + SAME_FLOAT),
  };
}

/** Float perplexities this near come from the same model and text, computed on another number of threads or another device. */
const SAME_FLOAT = 1e-3;

/** Whether each point is on the front: no other is at most as expensive and at most as perplexed, and less in one of the two.
 *  Points in the same place are on it together. */
export function onFront(points: readonly { readonly cost: number; readonly perplexity: number }[]): boolean[] {
  const order = points.map((_, index) => index).filter((index) => isPlace(points[index]));
  const at = (index: number) => points[index] ?? { cost: NaN, perplexity: NaN };
  order.sort((a, b) => at(a).cost - at(b).cost || at(a).perplexity - at(b).perplexity);
  const front = points.map(() => false);
  let best = Infinity;
  let last = { cost: NaN, perplexity: NaN };
  for (const index of order) {
    const { cost, perplexity } = at(index);
    const isTwin = last.cost === cost && last.perplexity === perplexity;
    if (perplexity < best || isTwin) {
      front[index] = true;
      best = perplexity;
      last = { cost, perplexity };
    }
  }
  return front;
}

function isPlace(point: { readonly cost: number; readonly perplexity: number } | undefined): boolean {
  return point !== undefined && Number.isFinite(point.cost) && Number.isFinite(point.perplexity);
}

interface SharedPoint {
  readonly kind: Exclude<PointKind, 'run'>;
  readonly runs: readonly number[];
  readonly cost: number | null;
  readonly perplexity: number;
}

/** Runs of the same model share their float point, those with the same grid also that of rounding. */
function sharedPoints(
  kind: SharedPoint['kind'],
  runs: readonly RunFacts[],
  costOf: ((run: RunFacts) => number | null) | null,
): SharedPoint[] {
  const found: { runs: number[]; cost: number | null; perplexity: number }[] = [];
  runs.forEach((run, index) => {
    const perplexity = run.metrics[kind === 'float' ? 'perplexity.float' : 'perplexity.roundToNearest'] ?? null;
    const cost = costOf?.(run) ?? null;
    if (perplexity === null || !(perplexity > 0) || (costOf !== null && cost === null)) return;
    const same = found.find((point) => near(point.perplexity, perplexity) && near(point.cost ?? 1, cost ?? 1));
    if (same === undefined) found.push({ runs: [index], cost, perplexity });
    else same.runs.push(index);
  });
  return found.map((point) => ({ kind, ...point }));
}

const near = (one: number, other: number): boolean => Math.abs(one - other) <= SAME_FLOAT * Math.max(one, other);

/** `round-to-nearest`, and where there are several of them what tells them apart: the cost, quantized activations, the perplexity. */
function withLabels(
  points: readonly SharedPoint[],
  runs: readonly RunFacts[],
  { unit }: Cost,
): (SharedPoint & { readonly label: string })[] {
  const several = (kind: SharedPoint['kind']): boolean => points.filter((point) => point.kind === kind).length > 1;
  const labelled = points.map((point) => {
    const { kind, cost, perplexity } = point;
    if (!several(kind)) return { ...point, label: kind };
    if (cost === null) return { ...point, label: `${kind}, ${showNumber(perplexity, 'perplexity')}` };
    const activations = kind === 'float' ? null : activationsOf(runs[point.runs[0] ?? 0]);
    const size = `${showNumber(cost, unit)}${unit === 'bits' ? ' bits' : ''}`;
    return { ...point, label: [kind, size, ...(activations === null ? [] : [activations])].join(', ') };
  });
  return labelled.map((point) => {
    const isAlone = labelled.filter(({ label }) => label === point.label).length === 1;
    return isAlone ? point : { ...point, label: `${point.label}, ${showNumber(point.perplexity, 'perplexity')}` };
  });
}

/** `A8KV4`; null: none are quantized, or the run's experiment does not say so. */
function activationsOf(run: RunFacts | undefined): string | null {
  const activations = run?.settings['quantization.activations'];
  if (activations === undefined || activations === null) return null;
  try {
    // Rounding learns no ranges.
    return activationName({ quantization: { method: 'rtn', activations } } as unknown as Experiment);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
