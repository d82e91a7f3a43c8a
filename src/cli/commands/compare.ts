// lrqat compare RUN…
import { version } from '../../../package.json';
import { UserError } from '../../errors';
import {
  compareRuns,
  comparisonCsv,
  comparisonJson,
  comparisonLatex,
  comparisonMarkdown,
  comparisonTables,
  cellText,
  factsOf,
  type Cell,
  type Comparison,
  comparisonReport,
  curveOf,
  type CompareOptions as Choices,
} from '../../compare';
import { findRun, readRun } from '../../runs';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { renderTable } from '../table';

export type CompareFormat = 'table' | 'csv' | 'markdown' | 'latex' | 'html' | 'json';
export const COMPARE_FORMATS: readonly CompareFormat[] = ['table', 'csv', 'markdown', 'latex', 'html', 'json'];

export interface CompareOptions extends RunsOption {
  readonly format: CompareFormat;
  /** A run as on the command line. */
  readonly baseline?: string;
  readonly all?: boolean;
  readonly transpose?: boolean;
}

export async function compare(names: readonly string[], options: CompareOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  const directories = names.map((name) => findRun(name, folder));
  const baseline = options.baseline === undefined ? 0 : directories.indexOf(findRun(options.baseline, folder));
  if (baseline < 0) {
    throw new UserError('NoSuchRun', `--baseline ${options.baseline ?? ''}: is not one of the runs that are compared`, {
      hint: 'Name it among the runs as well.',
    });
  }
  const runs = await Promise.all(directories.map(readRun));
  const choices: Choices = { baseline, identical: options.all === true };
  if (options.format === 'html') {
    const reported = runs.map((run) => ({ ...factsOf(run), curve: curveOf(run.events) }));
    const about = { title: 'Comparison of runs', time: Date.now(), version };
    context.output.write(comparisonReport(reported, { ...choices, ...about }));
  } else write(compareRuns(runs.map(factsOf), choices), { ...options, format: options.format }, context);
  return EXIT.ok;
}

function write(
  comparison: Comparison,
  { format, transpose = false }: Omit<CompareOptions, 'format'> & { readonly format: Exclude<CompareFormat, 'html'> },
  { output }: Pick<Context, 'output'>,
): void {
  switch (format) {
    case 'csv':
      output.write(comparisonCsv(comparison));
      break;
    case 'markdown':
      output.write(comparisonMarkdown(comparison, transpose));
      break;
    case 'latex':
      output.write(comparisonLatex(comparison, transpose));
      break;
    case 'json':
      output.write(comparisonJson(comparison));
      break;
    case 'table':
      comparisonTables(comparison, transpose).forEach(({ title, header, rows }, index) => {
        if (index > 0) output.line();
        output.line(output.paint('bold', title));
        const columns = header.map((text, column) => ({
          title: text,
          align: column === 0 ? ('left' as const) : ('right' as const),
          shrinkTo: 20,
        }));
        // Stars stand in a column of their own, so that numbers stay below one another.
        const starred = header.map((_, column) => rows.some((row) => row[column]?.best));
        const text = (cell: Cell, column: number): string =>
          starred[column] === true ? `${cellText(cell)}${cell.best ? ' *' : '  '}` : cellText(cell);
        for (const line of renderTable(
          columns,
          rows.map((row) => row.map(text)),
          { width: output.width() },
        )) {
          output.line(line);
        }
      });
      if (comparison.metrics.some((row) => row.best.includes(true))) output.line(output.paint('dim', '* best'));
  }
}
