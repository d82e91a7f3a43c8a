// Tables for terminals of any width.
import { padText, textWidth, truncate } from './text-width';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** May be cut down to this many columns where the terminal is narrow; without it the column keeps its width. */
  readonly shrinkTo?: number;
}

export interface TableOptions {
  /** Columns of the terminal; Infinity where the output is a file. */
  readonly width: number;
  readonly header?: (text: string) => string;
  /** Columns that are repeated when the rest does not fit and is continued in a further block. */
  readonly repeat?: number;
}

const GAP = 2;

/** Lines without trailing spaces. A table too wide even with all columns shrunk goes on in blocks below one another. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { width, header = (text) => text, repeat = 1 }: TableOptions,
): string[] {
  const natural = columns.map((column, index) =>
    Math.max(textWidth(column.title), ...rows.map((row) => textWidth(row[index] ?? ''))),
  );
  const widths = shrink(columns, natural, width);
  const lines: string[] = [];
  for (const block of blocks(widths, width, repeat)) {
    if (lines.length > 0) lines.push('');
    const line = (cells: readonly string[]): string =>
      block
        .map((index) => {
          const size = widths[index] ?? 0;
          return padText(truncate(cells[index] ?? '', size), size, columns[index]?.align ?? 'left');
        })
        .join(' '.repeat(GAP))
        .trimEnd();
    if (columns.some((column) => column.title !== '')) lines.push(header(line(columns.map((column) => column.title))));
    for (const row of rows) lines.push(line(row));
  }
  return lines;
}

function shrink(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, each) => sum + each, 0) + GAP * (widths.length - 1) - width;
  while (excess > 0) {
    // The widest of those that may still give.
    const [widest] = columns
      .map((column, index) => ({ index, room: (widths[index] ?? 0) - (column.shrinkTo ?? Infinity) }))
      .filter(({ room }) => room > 0)
      .sort((a, b) => (widths[b.index] ?? 0) - (widths[a.index] ?? 0));
    if (widest === undefined) break;
    widths[widest.index] = (widths[widest.index] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}

/** Indices of the columns of each block. */
function blocks(widths: readonly number[], width: number, repeat: number): number[][] {
  const fixed = widths.slice(0, repeat).map((_, index) => index);
  const fixedWidth = fixed.reduce((sum, index) => sum + (widths[index] ?? 0) + GAP, 0);
  const result: number[][] = [];
  let block: number[] = [];
  let used = fixedWidth;
  for (let index = repeat; index < widths.length; index++) {
    const size = (widths[index] ?? 0) + (block.length > 0 ? GAP : 0);
    if (block.length > 0 && used + size > width) {
      result.push([...fixed, ...block]);
      block = [];
      used = fixedWidth;
    }
    block.push(index);
    used += size;
  }
  return block.length > 0 || result.length === 0 ? [...result, [...fixed, ...block]] : result;
}
