// What an export that rounds does to perplexity.

export interface PerplexityChange {
  /** Of the run's merged weights; null: not finite. */
  readonly before: number | null;
  /** Of the weights that a reader of the export decodes. */
  readonly after: number | null;
  /** Predicted tokens. */
  readonly tokens: number;
}

/** `12.3456 → 12.3461 (+0.0041 %)`. */
export function describeChange({ before, after }: PerplexityChange): string {
  const show = (value: number | null): string => value?.toFixed(4) ?? 'not finite';
  if (before === null || after === null) return `${show(before)} → ${show(after)}`;
  const percent = 100 * (after / before - 1);
  return `${show(before)} → ${show(after)} (${percent < 0 ? '−' : '+'}${Math.abs(percent).toPrecision(2)} %)`;
}
