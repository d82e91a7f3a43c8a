// The tables of docs/results.md. What is written about them stays: only what stands between the marks is replaced.

import { grids, METHODS, questions, type Cell, type Question, type Subject } from './matrix';
import type { Rates } from './search';

/** What a run came to. */
export interface Measured {
  readonly cell: Cell;
  /** Of the merged weights. */
  readonly perplexity: number;
  readonly float: number;
  readonly bitsPerWeight: number;
}

/** What a search came to. */
export interface Found {
  readonly question: Question;
  readonly rates: Rates;
}

/** @returns the page with the table of one subject replaced. */
export function withTable(page: string, subject: Subject, table: string): string {
  const begin = `<!-- table: ${subject.id} -->`;
  const end = `<!-- end of table: ${subject.id} -->`;
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/results.md lacks the lines '${begin}' and '${end}'`);
  return `${page.slice(0, from + begin.length)}\n\n${table}\n\n${page.slice(to)}`;
}

/** One table: methods by grids, the best of a column in bold. */
export function tableOf(subject: Subject, measured: readonly Measured[]): string {
  const columns = grids(subject).map((grid) => {
    const values = METHODS.map((method) =>
      measured
        .filter(({ cell }) => cell.method.id === method.id && cell.grid.id === grid.id)
        .map(({ perplexity }) => perplexity),
    );
    return { grid, values, best: Math.min(...values.filter((each) => each.length > 0).map(mean)) };
  });
  const bits = columns.map(({ grid }) => measured.find(({ cell }) => cell.grid.id === grid.id)?.bitsPerWeight);
  const float = measured[0]?.float;
  const rows = [
    ['method', ...columns.map(({ grid }) => grid.title)],
    ['---', ...columns.map(() => '---:')],
    ['bits a weight, with scales', ...bits.map((value) => (value === undefined ? '–' : value.toFixed(2)))],
    ['float', ...columns.map(() => (float === undefined ? '–' : shown([float])))],
    ...METHODS.map(({ title }, row) => [
      title,
      ...columns.map(({ values, best }) => {
        const cell = values[row] ?? [];
        if (cell.length === 0) return '–';
        return mean(cell) === best ? `**${shown(cell)}**` : shown(cell);
      }),
    ]),
  ];
  return `### ${subject.title}\n\n${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}`;
}

const RATES: Readonly<Record<keyof Rates, string>> = { lowRank: 'A and B', weights: 'weights', scales: 'scales' };

/** The learning rates that the searches found, methods by bits. */
export function ratesTable(subject: Subject, found: readonly Found[]): string {
  const all = questions(subject);
  const columns = [...new Map(all.map(({ grid }) => [grid.id, grid])).values()];
  const methods = [...new Set(all.map(({ method }) => method))];
  const rows = [
    ['learning rates', ...columns.map(({ title }) => title)],
    ['---', ...columns.map(() => '---')],
    ...methods.map((method) => [
      method.title,
      ...columns.map((grid) => {
        const best = found.find(({ question }) => question.method.id === method.id && question.grid.id === grid.id);
        return best === undefined ? '–' : ratesText(best.rates);
      }),
    ]),
  ];
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const ratesText = ({ lowRank, weights, scales }: Rates) =>
  Object.entries({ lowRank, weights, scales })
    .flatMap(([name, rate]) => (rate === undefined ? [] : [`${RATES[name as keyof Rates]} ${rate.toExponential()}`]))
    .join(', ');

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Mean of the seeds, and half of what lies between them. */
function shown(values: readonly number[]): string {
  const middle = mean(values);
  const digits = middle >= 1000 ? 0 : middle >= 100 ? 1 : middle >= 10 ? 2 : 3;
  const spread = (Math.max(...values) - Math.min(...values)) / 2;
  return values.length < 2 ? middle.toFixed(digits) : `${middle.toFixed(digits)} ± ${spread.toFixed(digits)}`;
}
