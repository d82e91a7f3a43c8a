// A comparison as one value: what every table, document and panel is made from.
import { configRows, type ConfigRow } from './config-diff';
import { distinctTitles, type RunFacts } from './facts';
import { isBest, METRICS, type Metric } from './metrics';

export interface MetricRow extends Metric {
  /** By run; null: not known. */
  readonly values: readonly (number | null)[];
  /** By run, minus the baseline's value; null for the baseline and where a side is not known. */
  readonly deltas: readonly (number | null)[];
  /** By run; see isBest. */
  readonly best: readonly boolean[];
}

export interface Comparison {
  readonly runs: readonly { readonly name: string; readonly title: string; readonly state: string }[];
  /** Index of the run that others are measured against. */
  readonly baseline: number;
  readonly metrics: readonly MetricRow[];
  /** Settings that are not the same in all runs. */
  readonly configuration: readonly ConfigRow[];
  /** Settings that are; empty unless they were asked for. */
  readonly identical: readonly ConfigRow[];
}

/** A metric or a setting, as a search sees it. */
export interface Field {
  readonly key: string;
  readonly label: string;
}

export interface CompareOptions {
  /** Index of the run that others are measured against; default: the first. */
  readonly baseline?: number;
  /** Also the settings that are the same in all runs. */
  readonly identical?: boolean;
  /** Which metrics and settings; default: all. */
  readonly fields?: (field: Field) => boolean;
}

/** Metrics that at least one run has a value of, and settings. */
export function compareRuns(runs: readonly RunFacts[], options: CompareOptions = {}): Comparison {
  const { baseline = 0, identical = false, fields = () => true } = options;
  const titles = distinctTitles(runs);
  const rows = configRows(runs.map(({ settings }) => settings));
  const wanted = (row: ConfigRow): boolean => fields({ key: row.key, label: row.key });
  return {
    runs: runs.map(({ name, state }, index) => ({ name, title: titles[index] ?? name, state })),
    baseline,
    metrics: METRICS.filter(fields)
      .map((metric) => metricRow(metric, runs, baseline))
      .filter(({ values }) => values.some((value) => value !== null)),
    configuration: rows.different.filter(wanted),
    identical: identical ? rows.identical.filter(wanted) : [],
  };
}

function metricRow(metric: Metric, runs: readonly RunFacts[], baseline: number): MetricRow {
  const values = runs.map(({ metrics }) => metrics[metric.key] ?? null);
  const base = values[baseline] ?? null;
  return {
    ...metric,
    values,
    deltas: values.map((value, index) => (index === baseline || value === null || base === null ? null : value - base)),
    best: isBest(values, metric.better),
  };
}

export function comparisonJson(comparison: Comparison): string {
  return `${JSON.stringify(comparison, null, 2)}\n`;
}
