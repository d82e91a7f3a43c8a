// "sweep": one experiment file that stands for several runs, one for each combination of the listed values. Pure.
//
// Order: keys as they are written, values as they are listed, the last key varies fastest (as nested loops would run).

import type { Redirect } from './document';
import type { KeyPath } from './problem';
import { valueLabel } from './sweep-keys';

/** One swept key. `path` is `key` taken apart. */
export interface SweepAxis {
  readonly key: string;
  readonly path: KeyPath;
  readonly values: readonly unknown[];
}

/** One combination of the values. */
export interface Combination {
  /** `w2-rank8`; unlike the names of all others of the sweep. */
  readonly name: string;
  /** By key path, in the order of the file. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Where the values stand in the file. */
  readonly redirects: readonly Redirect[];
}

/** More are a slip of the pen, or want a search that looks at results. */
export const MAX_SWEEP_RUNS = 256;

/** A sweep over many keys would give names that nobody reads. */
const LONGEST_NAME = 120;

/** Runs that the axes stand for. */
export function combinationCount(axes: readonly SweepAxis[]): number {
  return axes.reduce((count, { values }) => count * values.length, 1);
}

export function combinations(axes: readonly SweepAxis[]): Combination[] {
  const indices = axes.reduce<number[][]>(
    (partial, { values }) => partial.flatMap((before) => values.map((_, index) => [...before, index])),
    [[]],
  );
  const names = new Map<string, number>();
  return indices.map((chosen) => {
    const label = axes
      .map(({ key, values }, axis) => valueLabel(key, values[chosen[axis] ?? 0], chosen[axis] ?? 0))
      .join('-')
      .slice(0, LONGEST_NAME);
    const seen = (names.get(label) ?? 0) + 1;
    names.set(label, seen);
    return {
      name: seen === 1 ? label : `${label}-${String(seen)}`,
      values: Object.fromEntries(axes.map(({ key, values }, axis) => [key, values[chosen[axis] ?? 0]])),
      redirects: axes.map(({ key, path }, axis) => ({ from: path, to: ['sweep', key, chosen[axis] ?? 0] })),
    };
  });
}

/** The experiment as written, with the values of one combination in it. Sections that are missing are made; where something
 *  other than a section stands, it stays, because it is an error of its own. */
export function withCombination(written: unknown, { values }: Pick<Combination, 'values'>): unknown {
  return Object.entries(values).reduce((result, [key, value]) => withValue(result, key.split('.'), value), written);
}

function withValue(section: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  if (section !== undefined && (typeof section !== 'object' || section === null || Array.isArray(section))) {
    return section;
  }
  const before = (section ?? {}) as Readonly<Record<string, unknown>>;
  return { ...before, [key]: withValue(Object.hasOwn(before, key) ? before[key] : undefined, rest, value) };
}
