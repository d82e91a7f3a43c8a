// The heat map of `lrqat sensitivity` for a terminal: a row a block, a column a linear.
import { LINEAR_NAMES } from '../formats';
import type { Sensitivity } from '../trainer/sensitivity';
import type { Column } from './table';
import type { Style, Terminal } from './terminal';

export interface HeatTable {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
}

/** Signs of rising heat, so that the map reads without colours as well. */
const SHADES = ['·', '░', '▒', '▓', '█'] as const;
const STYLES: readonly (Style | null)[] = ['dim', null, null, 'yellow', 'red'];

/** Shades are steps on a logarithmic scale: of the largest loss, half an order of magnitude each. */
export function shadeOf(loss: number, most: number): number {
  if (!Number.isFinite(loss)) return SHADES.length - 1;
  if (loss <= 0 || most <= 0) return 0;
  return Math.max(0, Math.min(SHADES.length - 1, SHADES.length - 1 - Math.floor(-2 * Math.log10(loss / most))));
}

export function heatRows(
  { linears }: Pick<Sensitivity, 'linears'>,
  bits: number,
  { paint }: Pick<Terminal, 'paint'>,
): HeatTable {
  const losses = new Map(linears.map(({ name, losses: byBits }) => [name, byBits.get(bits) ?? NaN]));
  const most = Math.max(0, ...[...losses.values()].filter(Number.isFinite));
  const blocks = [...new Set(linears.map(({ name }) => name.split('.').slice(0, -2).join('.')))];
  const cell = (loss: number | undefined): string => {
    if (loss === undefined) return '–';
    const shade = shadeOf(loss, most);
    const text = `${showPercent(loss)} ${SHADES[shade] ?? ''}`;
    const style = STYLES[shade] ?? null;
    return style === null ? text : paint(style, text);
  };
  return {
    columns: [
      { title: 'block' },
      ...LINEAR_NAMES.map((name) => ({ title: name.split('.').at(-1) ?? name, align: 'right' as const })),
    ],
    rows: blocks.map((block) => [
      block.split('.').at(-1) ?? block,
      ...LINEAR_NAMES.map((name) => cell(losses.get(`${block}.${name}`))),
    ]),
  };
}

/** The rise of perplexity that a loss stands for. */
function showPercent(loss: number): string {
  const percent = Math.expm1(loss) * 100;
  if (!Number.isFinite(percent)) return '∞';
  return Math.abs(percent) >= 1000 ? percent.toExponential(1) : percent.toFixed(2);
}
