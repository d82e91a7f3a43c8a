// A comparison as one value, and its forms for programs and documents.
import { configDifferences, type ConfigDifference, type Json } from './config-diff';
import { metricRows, type ComparedRun, type MetricRow } from './metrics';
import { showJson, showNumber } from './show';

export interface Comparison {
  /** The first run is the one that others are measured against. */
  readonly runs: readonly { readonly name: string; readonly state: string }[];
  readonly metrics: readonly MetricRow[];
  readonly configuration: readonly ConfigDifference[];
}

export function compareRuns(runs: readonly ComparedRun[]): Comparison {
  return {
    runs: runs.map(({ name, state }) => ({ name, state })),
    metrics: metricRows(runs),
    configuration: configDifferences(runs.map((run) => run.experiment)),
  };
}

/** Rows of text with a header, for any kind of table. */
export interface TextTable {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Metrics and configuration as two tables with a column a run. */
export function comparisonTables(comparison: Comparison): TextTable[] {
  const header = ['', ...comparison.runs.map((run) => run.name)];
  const states = ['state', ...comparison.runs.map((run) => run.state)];
  const metrics = comparison.metrics.map((row) => [
    row.label,
    ...row.values.map((value, index) => withDelta(row, value, row.deltas[index] ?? null)),
  ]);
  const configuration = comparison.configuration.map(({ key, values }) => [key, ...values.map(showJson)]);
  return [
    { title: 'Metrics', header, rows: [states, ...metrics] },
    ...(configuration.length === 0 ? [] : [{ title: 'Configuration (what differs)', header, rows: configuration }]),
  ];
}

/** `12.34 (−0.56)`. */
function withDelta(row: MetricRow, value: number | null, delta: number | null): string {
  const text = showNumber(value, row.unit);
  if (delta === null || delta === 0) return text;
  const size = Math.abs(delta);
  // The difference of two percentages is no percentage of either.
  const shown = row.unit === 'share' ? `${(size * 100).toFixed(1)} points` : showNumber(size, row.unit);
  return `${text} (${delta > 0 ? '+' : '−'}${shown})`;
}

export function comparisonMarkdown(comparison: Comparison): string {
  const cell = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('\n', ' ');
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return comparisonTables(comparison)
    .map(({ title, header, rows }) => {
      const rule = `| --- |${header
        .slice(1)
        .map(() => ' ---: |')
        .join('')}`;
      return [`**${title}**`, '', line(header), rule, ...rows.map(line), ''].join('\n');
    })
    .join('\n');
}

/** One line a run and full precision, as tools for tables want it (RFC 4180). */
export function comparisonCsv(comparison: Comparison): string {
  const header = [
    'run',
    'state',
    ...comparison.metrics.map((row) => row.key),
    ...comparison.metrics.map((row) => `delta.${row.key}`),
    ...comparison.configuration.map(({ key }) => key),
  ];
  const rows = comparison.runs.map((run, index) => [
    run.name,
    run.state,
    ...comparison.metrics.map((row) => plain(row.values[index])),
    ...comparison.metrics.map((row) => plain(row.deltas[index])),
    ...comparison.configuration.map(({ values }) => plain(values[index])),
  ]);
  return [header, ...rows].map((cells) => `${cells.map(csvCell).join(',')}\r\n`).join('');
}

function plain(value: Json | undefined): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Quoted where it must be. A leading = + - @ of a text would be run as a formula by spreadsheets: such a cell gets an
 *  apostrophe; numbers stay as they are. */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+(e[+-]?\d+)?$/i.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function comparisonJson(comparison: Comparison): string {
  return `${JSON.stringify(comparison, null, 2)}\n`;
}
