// How the benchmarks of the interface print: what was measured, how it is spread, and whether a goal was met.

export interface Goal {
  /** Milliseconds that the quantile may take at most. */
  readonly of: 'median' | 'p95' | 'max';
  readonly limit: number;
}

export interface Spread {
  readonly median: number;
  readonly p95: number;
  readonly max: number;
}

export function spreadOf(milliseconds: readonly number[]): Spread {
  const sorted = [...milliseconds].sort((one, other) => one - other);
  const quantile = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return { median: quantile(0.5), p95: quantile(0.95), max: sorted.at(-1) ?? NaN };
}

/** One line: name, median, p95, largest, number of measurements, then each goal with the share of it that was used. */
export function report(what: string, milliseconds: readonly number[], goals: readonly Goal[] = [], note = ''): void {
  const spread = spreadOf(milliseconds);
  const show = (value: number): string => value.toFixed(1).padStart(7);
  const numbers =
    milliseconds.length === 1
      ? `${show(spread.median)} ms`.padEnd(45)
      : `median ${show(spread.median)}  p95 ${show(spread.p95)}  max ${show(spread.max)} ms  (${String(milliseconds.length)})`;
  const verdicts = goals.map(({ of, limit }) => {
    const ratio = spread[of] / limit;
    return `goal ${of} ≤ ${String(limit)} ms: ${ratio <= 1 ? 'pass' : 'MISS'} (${ratio.toFixed(2)} of it)`;
  });
  console.log([`  ${what.padEnd(50)} ${numbers}`, ...verdicts, ...(note === '' ? [] : [note])].join('   '));
}
