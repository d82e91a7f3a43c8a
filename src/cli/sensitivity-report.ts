// The heat map of `lrqat sensitivity` as one HTML file, with nothing from outside and no script: for a browser, and for the editor, which
// shows it in its own colours. Pure.
import { escapeHtml, htmlPage, showNumber } from '../compare';
import { LINEAR_NAMES } from '../formats/model-shape';
import type { Sensitivity } from '../trainer/sensitivity';

export interface ReportedMixture {
  /** Bits a weight that were allowed. */
  readonly budget: number;
  readonly bitsPerWeight: number;
  /** Measured with the mixture, nats a token. */
  readonly loss: number;
  readonly bits: ReadonlyMap<string, number>;
}

export interface SensitivityReportOptions {
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly version: string;
}

/** Shades of a cell beside none: steps of a quarter of an order of magnitude below the largest loss. */
const SHADES = 10;

export function sensitivityReport(
  result: Sensitivity,
  mixture: ReportedMixture | null,
  { title, time, version }: SensitivityReportOptions,
): string {
  const { uniform, floatLoss, tokens, sequenceLength, compute } = result;
  const most = Math.max(
    0,
    ...result.linears.flatMap(({ losses }) => [...losses.values()].filter((loss) => Number.isFinite(loss))),
  );
  const maps = uniform.map(({ bits, bitsPerWeight, loss }) => {
    const cells = new Map(
      result.linears.map(({ name, losses }) => [name, heatCell(losses.get(bits) ?? Number.NaN, most)]),
    );
    const all = `All at once: perplexity ${perplexity(loss)}, with ${bitsPerWeight.toFixed(3)} bits a weight.`;
    return section(`${String(bits)} bits`, gridOf(result, cells, `${String(bits)} bits`), all);
  });
  return htmlPage({
    title,
    about: `By how many % perplexity rises when one linear alone is rounded to nearest and all others stay float (perplexity ${perplexity(floatLoss)}). The shade is logarithmic and the same in all maps: each step is a factor of 1.8. ${String(tokens)} tokens in sequences of ${String(sequenceLength)}, ${compute}.`,
    time,
    version,
    style: STYLE,
    sections: [...(mixture === null ? [] : [mixtureSection(result, mixture)]), ...maps],
  });
}

const perplexity = (loss: number): string => showNumber(Math.exp(loss), 'perplexity');

/** A row a block, a column a linear; what is not quantized has a dash. */
function gridOf({ linears }: Sensitivity, cells: ReadonlyMap<string, string>, label: string): string {
  const blocks = [...new Set(linears.map(({ name }) => name.split('.').slice(0, -2).join('.')))];
  const head = LINEAR_NAMES.map((name) => `<th scope="col">${escapeHtml(name.split('.').at(-1) ?? name)}</th>`);
  const rows = blocks.map((block) => {
    const row = LINEAR_NAMES.map((name) => cells.get(`${block}.${name}`) ?? '<td>–</td>');
    return `<tr><th scope="row">${escapeHtml(block.split('.').at(-1) ?? block)}</th>${row.join('')}</tr>`;
  });
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}">
<table>
<thead><tr><th scope="col">block</th>${head.join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</div>`;
}

function heatCell(loss: number, most: number): string {
  return `<td class="h${String(shadeOf(loss, most))}">${percent(loss)}</td>`;
}

/** 0: none, to {@link SHADES}: the largest. */
export function shadeOf(loss: number, most: number): number {
  if (!Number.isFinite(loss)) return SHADES;
  if (loss <= 0 || most <= 0) return 0;
  return Math.max(0, Math.min(SHADES, Math.ceil(SHADES + 4 * Math.log10(loss / most))));
}

function percent(loss: number): string {
  const rise = Math.expm1(loss) * 100;
  if (!Number.isFinite(rise)) return '∞';
  const text = Math.abs(rise) >= 1000 ? rise.toExponential(1) : rise.toFixed(2);
  return text === '-0.00' ? '0.00' : text.replace('-', '−');
}

function mixtureSection(result: Sensitivity, { budget, bitsPerWeight, loss, bits }: ReportedMixture): string {
  const widths = [...new Set(bits.values())].sort((a, b) => a - b);
  const cells = new Map(
    [...bits].map(([name, width]) => {
      const share = widths.length === 1 ? 0 : widths.indexOf(width) / (widths.length - 1);
      return [name, `<td class="b${String(Math.round(share * SHADES))}">${String(width)}</td>`];
    }),
  );
  const all = `Perplexity ${perplexity(loss)}, measured, with ${bitsPerWeight.toFixed(3)} bits a weight.`;
  const title = `Suggested bits for ${String(budget)} bits a weight`;
  return section(title, gridOf(result, cells, title), all);
}

function section(title: string, inner: string, note: string): string {
  return `<section>\n<h2>${escapeHtml(title)}</h2>\n${inner}\n<p class="about">${escapeHtml(note)}</p>\n</section>`;
}

const shades = (letter: string, colour: string): string =>
  Array.from(
    { length: SHADES },
    (_, at) =>
      `td.${letter}${String(at + 1)} { background: color-mix(in srgb, var(${colour}) ${String(5 * (at + 1))}%, var(--back)); }`,
  ).join('\n');

const STYLE = `
:root { color-scheme: light dark; --text: #1f2328; --muted: #59636e; --line: #d1d9e0; --back: #fff; --hot: #bc4c00; --wide: #0969da; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --muted: #9198a1; --line: #3d444d; --back: #0d1117; --hot: #db6d28; --wide: #4493f8; } }
body { max-width: 1100px; margin: 0 auto; padding: 24px; background: var(--back); color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { font-size: 16px; margin: 28px 0 8px; }
.about { max-width: 75ch; color: var(--muted); font-size: 13px; }
.scroll { max-width: 100%; overflow-x: auto; }
table { border-collapse: separate; border-spacing: 2px; font-variant-numeric: tabular-nums; }
th, td { min-width: 64px; padding: 3px 8px; text-align: right; white-space: nowrap; }
th { font-weight: normal; color: var(--muted); }
td { border: 1px solid var(--line); border-radius: 2px; }
${shades('h', '--hot')}
${shades('b', '--wide')}
@media print { td { print-color-adjust: exact; } section { break-inside: avoid; } }
`;
