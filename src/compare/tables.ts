// A comparison as tables of text: what terminals, Markdown, LaTeX and HTML have in common.
import type { Comparison, MetricRow } from './comparison';
import { showJson, showNumber } from './show';

export interface Cell {
  readonly text: string;
  /** Difference from the baseline's value with its sign, `−0.56`; null: none, or none to speak of. */
  readonly delta: string | null;
  /** The best of its metric. */
  readonly best: boolean;
}

/** Rows of text with a header, for any kind of table. Cells of the first column are headers of their rows. */
export interface TextTable {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** The first column holds keys of experiment files. */
  readonly keys: boolean;
}

const plain = (text: string): Cell => ({ text, delta: null, best: false });

/** Metrics, settings that differ and, where the comparison has them, settings that are the same in all.
 *  @param transposed a row a run instead of a column a run */
export function comparisonTables(comparison: Comparison, transposed = false): TextTable[] {
  const titles = comparison.runs.map((run) => run.title);
  const states = ['state', ...comparison.runs.map((run) => run.state)].map(plain);
  const metrics = comparison.metrics.map((row) => [
    plain(row.label),
    ...row.values.map((value, index) => ({
      text: showNumber(value, row.unit),
      delta: showDelta(row, row.deltas[index] ?? null),
      best: row.best[index] === true,
    })),
  ]);
  const settings = (rows: Comparison['configuration']): Cell[][] =>
    rows.map(({ key, values }) => [plain(key), ...values.map((value) => plain(showJson(value)))]);
  const byRun = (title: string, rows: readonly (readonly Cell[])[], keys: boolean): TextTable => {
    const table = { title, header: ['', ...titles], rows, keys };
    return transposed ? turned(table) : table;
  };
  return [
    byRun('Metrics', [states, ...metrics], false),
    ...(comparison.configuration.length === 0
      ? []
      : [byRun('Configuration (what differs)', settings(comparison.configuration), true)]),
    ...(comparison.identical.length === 0
      ? []
      : [
          {
            title: 'Configuration (the same in all runs)',
            header: ['', 'all runs'],
            rows: comparison.identical.map(({ key, values }) => [plain(key), plain(showJson(values[0]))]),
            keys: true,
          },
        ]),
  ];
}

/** `+1.2 MiB`, `−26.5 points`; null where nothing is to be said. */
export function showDelta(row: Pick<MetricRow, 'unit'>, delta: number | null): string | null {
  if (delta === null || delta === 0) return null;
  const size = Math.abs(delta);
  // The difference of two percentages is no percentage of either.
  const shown = row.unit === 'share' ? `${(size * 100).toFixed(1)} points` : showNumber(size, row.unit);
  return `${delta > 0 ? '+' : '−'}${shown}`;
}

/** `12.34 (−0.56)`. */
export function cellText({ text, delta }: Cell): string {
  return delta === null ? text : `${text} (${delta})`;
}

function turned({ title, header, rows, keys }: TextTable): TextTable {
  return {
    title,
    header: ['run', ...rows.map(([first]) => first?.text ?? '')],
    rows: header.slice(1).map((name, index) => [plain(name), ...rows.map((row) => row[index + 1] ?? plain(''))]),
    keys,
  };
}
