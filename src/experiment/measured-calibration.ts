// Rates from work whose time was measured, operation by operation.

import {
  evaluationSecondsOf,
  scaledRates,
  secondsByRate,
  secondsOf,
  type Calibration,
  type StartRates,
  type StepRate,
} from './calibration';
import type { StepCost } from './cost';
import type { StartCost } from './start-cost';

/** Rates that one group of the engine's operations tells of. */
interface Group {
  readonly rates: readonly StepRate[];
  readonly operations: readonly string[];
}

/** Operations that are not named here move bytes. */
const GROUPS: readonly Group[] = [
  { rates: ['gemm'], operations: ['gemm'] },
  { rates: ['attention'], operations: ['attention', 'attentionBackward'] },
  { rates: ['thin', 'weightGradients'], operations: ['lowRankGradient'] },
  { rates: ['rebuild', 'rebuildBytes'], operations: ['rebuildWeight'] },
];
const NAMED = GROUPS.flatMap(({ operations }) => operations);

export interface MeasuredWork {
  readonly cost: StepCost;
  /** Of the wall clock. */
  readonly seconds: number;
  /** By operation of the engine; together at most about `seconds`. */
  readonly operations: Readonly<Record<string, number>>;
}

/** Rates with which `cost` takes `seconds`. What the work has nothing of is as much faster or slower than `guess` as matrix products. */
export function measuredCalibration({ cost, seconds, operations }: MeasuredWork, guess: Calibration): Calibration {
  const known = Object.values(operations).reduce((sum, part) => sum + part, 0);
  // Joins of threads and what lies between operations is spread over all.
  const stretch = known > 0 ? seconds / known : 1;
  const timeOf = (names: readonly string[]): number =>
    names.reduce((sum, name) => sum + (operations[name] ?? 0), 0) * stretch;
  const expected = secondsByRate(cost, guess);
  const faster = (rates: readonly StepRate[], time: number, otherwise: number): number => {
    const guessed = rates.reduce((sum, rate) => sum + expected[rate], 0);
    return guessed > 0 && time > 0 ? guessed / time : otherwise;
  };
  const products = faster(['gemm'], timeOf(['gemm']), 1);
  const moving = Object.keys(operations).filter((name) => !NAMED.includes(name));
  const groups = [
    ...GROUPS.map((group) => ({ rates: group.rates, time: timeOf(group.operations) })),
    { rates: ['bytes'] as const, time: timeOf(moving) },
  ];
  const rates = groups.map((group) => scaledRates(guess, faster(group.rates, group.time, products), group.rates));
  return Object.assign({ ...guess, measured: true }, ...rates) as Calibration;
}

/** @param seconds that evaluating took */
export function withEvaluation(rates: Calibration, cost: StepCost, seconds: number): Calibration {
  const evaluation = (rates.evaluation * seconds) / evaluationSecondsOf(cost, rates);
  return { ...rates, evaluation, teacher: evaluation };
}

/** @param seconds that the float model's answers took */
export function withTeacher(rates: Calibration, cost: StepCost, seconds: number): Calibration {
  return { ...rates, teacher: seconds / secondsOf(cost, rates) };
}

export interface MeasuredStart {
  readonly cost: StartCost;
  /** In operations of the engine, and beside them. */
  readonly inside: number;
  readonly beside: number;
}

/** Rates of what the start has of each kind; of the rest those that were guessed. */
export function measuredStart({ cost, inside, beside }: MeasuredStart, guess: StartRates): StartRates {
  const solving = cost.rounding / guess.rounding + cost.singular / guess.singular;
  const faster = solving > 0 && beside > 0 ? solving / beside : 1;
  return {
    inputs: cost.inputs > 0 && inside > 0 ? cost.inputs / inside : guess.inputs,
    rounding: guess.rounding * faster,
    singular: guess.singular * faster,
  };
}

const NUMBERS = [
  ...['gemm', 'attention', 'thin', 'weightGradients', 'rebuild', 'rebuildBytes', 'bytes', 'evaluation', 'teacher'],
] as const;

/** What another process says it measured; null: not that. */
export function checkedCalibration(value: unknown): Calibration | null {
  const isPositive = (parent: object, key: string): boolean => {
    const number: unknown = Object.entries(parent).find(([name]) => name === key)?.[1];
    return typeof number === 'number' && Number.isFinite(number) && number > 0;
  };
  if (typeof value !== 'object' || value === null || !('start' in value) || !('measured' in value)) return null;
  const { start, measured } = value;
  if (typeof measured !== 'boolean' || !NUMBERS.every((key) => isPositive(value, key))) return null;
  if (start === null) return value as unknown as Calibration;
  if (typeof start !== 'object') return null;
  const keys = ['inputs', 'rounding', 'singular'];
  return keys.every((key) => isPositive(start, key)) ? (value as unknown as Calibration) : null;
}
