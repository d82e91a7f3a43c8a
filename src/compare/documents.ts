// A comparison in the forms that documents and other programs take.
import type { Comparison } from './comparison';
import type { Json } from './config-diff';
import { cellText, comparisonTables, type Cell } from './tables';

/** Tables of GitHub's Markdown; the best of a metric is bold.
 *  @param transposed a row a run */
export function comparisonMarkdown(comparison: Comparison, transposed = false): string {
  const escaped = (text: string): string => text.replaceAll(/[\\|*_`<>[\]]/g, '\\$&').replaceAll(/\s*[\r\n]+\s*/g, ' ');
  const shown = (cell: Cell): string => (cell.best ? `**${escaped(cellText(cell))}**` : escaped(cellText(cell)));
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return comparisonTables(comparison, transposed)
    .map(({ title, header, rows }) => {
      const rule = ['---', ...header.slice(1).map(() => '---:')];
      const lines = [
        `**${title}**`,
        '',
        line(header.map(escaped)),
        line(rule),
        ...rows.map((row) => line(row.map(shown))),
      ];
      return lines.map((each) => `${each}\n`).join('');
    })
    .join('\n');
}

/** Tables of LaTeX with the rules of booktabs; the best of a metric is bold.
 *  @param transposed a row a run */
export function comparisonLatex(comparison: Comparison, transposed = false): string {
  const shown = ({ best, text, delta }: Cell): string => {
    const value = best ? `\\textbf{${latexText(text)}}` : latexText(text);
    return delta === null ? value : `${value} (${latexText(delta)})`;
  };
  const line = (cells: readonly string[]): string => `${cells.join(' & ')} \\\\\n`;
  const tables = comparisonTables(comparison, transposed).map(({ title, header, rows, keys }) => {
    // Keys are code wherever they stand: at the head of rows, or of columns where runs are rows.
    const rowKeys = keys && header[0] === '';
    const head = header.map((text, index) => (keys && !rowKeys && index > 0 ? code(text) : latexText(text)));
    const body = rows.map(([first, ...rest]) => {
      const name = first?.text ?? '';
      return line([rowKeys ? code(name) : latexText(name), ...rest.map(shown)]);
    });
    return [
      '\\begin{table}\n  \\centering\n',
      `  \\caption{${latexText(title)}}\n`,
      `  \\begin{tabular}{l${'r'.repeat(header.length - 1)}}\n`,
      '    \\toprule\n',
      `    ${line(head)}`,
      '    \\midrule\n',
      ...body.map((row) => `    ${row}`),
      '    \\bottomrule\n',
      '  \\end{tabular}\n\\end{table}\n',
    ].join('');
  });
  return `% \\usepackage{booktabs}\n${tables.join('\n')}`;
}

const code = (text: string): string => (text === '' ? '' : `\\texttt{${latexText(text)}}`);

const LATEX: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '{': '\\{',
  '}': '\\}',
  $: '\\$',
  '&': '\\&',
  '#': '\\#',
  '%': '\\%',
  _: '\\_',
  '^': '\\textasciicircum{}',
  '~': '\\textasciitilde{}',
  '<': '\\textless{}',
  '>': '\\textgreater{}',
  '|': '\\textbar{}',
  // Not the letter itself, which babel makes a command of in some languages.
  '"': '\\char34{}',
  '−': '$-$',
  '–': '--',
  '…': '\\dots{}',
};

/** Text in which no character means anything to LaTeX. */
export function latexText(text: string): string {
  return text.replaceAll(/[\\{}$&#%_^~<>|"−–…]/g, (letter) => LATEX[letter] ?? letter).replaceAll(/\s+/g, ' ');
}

/** One line a run and full precision, as tools for tables want it (RFC 4180). */
export function comparisonCsv(comparison: Comparison): string {
  const settings = [...comparison.configuration, ...comparison.identical];
  // A name that the user gave stands beside the folder's, which is what commands take.
  const named = comparison.runs.some(({ name, title }) => title !== name);
  const header = [
    'run',
    ...(named ? ['title'] : []),
    'state',
    ...comparison.metrics.map((row) => row.key),
    ...comparison.metrics.map((row) => `delta.${row.key}`),
    ...settings.map(({ key }) => key),
  ];
  const rows = comparison.runs.map((run, index) => [
    run.name,
    ...(named ? [run.title] : []),
    run.state,
    ...comparison.metrics.map((row) => bare(row.values[index])),
    ...comparison.metrics.map((row) => bare(row.deltas[index])),
    ...settings.map(({ values }) => bare(values[index])),
  ]);
  return [header, ...rows].map((cells) => `${cells.map(csvCell).join(',')}\r\n`).join('');
}

function bare(value: Json | undefined): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Quoted where it must be. A leading = + - @ of a text would be run as a formula by spreadsheets: such a cell gets an
 *  apostrophe; numbers stay as they are. */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+(e[+-]?\d+)?$/i.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
