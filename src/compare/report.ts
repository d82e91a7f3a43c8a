// A comparison as one HTML file: tables and pictures.
import { compareRuns, type CompareOptions } from './comparison';
import { distinctTitles, type RunFacts } from './facts';
import { htmlPage } from './html-page';
import { lossPicture, type LossCurve } from './loss-picture';
import { COSTS, pareto, type Pareto } from './pareto';
import { paretoPicture } from './pareto-picture';
import { showNumber } from './show';
import { escapeHtml, svgText } from './svg';
import { comparisonTables, type Cell, type TextTable } from './tables';

export interface ReportRun extends RunFacts {
  /** Training loss by step; see LossCurve. */
  readonly curve: Pick<LossCurve, 'steps' | 'losses'>;
}

export interface ReportOptions extends CompareOptions {
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly version: string;
}

const WIDTH = 860;

export function comparisonReport(runs: readonly ReportRun[], options: ReportOptions): string {
  const { title, time, version } = options;
  const comparison = compareRuns(runs, options);
  const titles = distinctTitles(runs);
  const losses = lossPicture(
    runs.map(({ curve }, index) => ({ ...curve, label: titles[index] ?? '' })),
    WIDTH,
    340,
  );
  const count = runs.length === 1 ? '1 run' : `${String(runs.length)} runs`;
  const sections = [
    ...comparisonTables(comparison).map(tableSection),
    ...COSTS.map(({ key }) => paretoSection(pareto(runs, key))),
    losses === null ? '' : section('Training loss', figure(svgText(losses), 'Cross-entropy in nats a token.')),
  ];
  const baseline = comparison.runs[comparison.baseline]?.title ?? '–';
  return htmlPage({
    title,
    about: `${count}, measured against ${baseline}. The best of each metric is bold.`,
    time,
    version,
    style: STYLE,
    sections: sections.filter((text) => text !== ''),
  });
}

function section(title: string, inner: string): string {
  return `<section>\n<h2>${escapeHtml(title)}</h2>\n${inner}\n</section>`;
}

function figure(svg: string, caption: string): string {
  return `<figure>\n${svg}\n<figcaption>${escapeHtml(caption)}</figcaption>\n</figure>`;
}

function tableSection({ title, header, rows, keys }: TextTable): string {
  const head = header.map((text) => (text === '' ? '<td></td>' : `<th scope="col">${escapeHtml(text)}</th>`)).join('');
  const body = rows.map(([first, ...rest]) => {
    const name = escapeHtml(first?.text ?? '');
    return `<tr><th scope="row">${keys ? `<code>${name}</code>` : name}</th>${rest.map(cell).join('')}</tr>`;
  });
  const table = `<table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join('\n')}\n</tbody>\n</table>`;
  return section(
    title,
    `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(title)}">\n${table}\n</div>`,
  );
}

function cell({ text, delta, best }: Cell): string {
  const shown = best ? `<strong>${escapeHtml(text)}</strong>` : escapeHtml(text);
  return `<td>${shown}${delta === null ? '' : ` <small>${escapeHtml(delta)}</small>`}</td>`;
}

function paretoSection(content: Pareto): string {
  const picture = paretoPicture(content, { width: WIDTH, height: 380, log: null });
  if (picture === null) return '';
  const { cost, points, isMixed, missing } = content;
  const front = points
    .filter(({ onFront }) => onFront)
    .sort((a, b) => a.cost - b.cost)
    .map(
      ({ label, cost: at, perplexity }) =>
        `${label} (${showNumber(at, cost.unit)}, ${showNumber(perplexity, 'perplexity')})`,
    );
  const caption = [
    `On the front: ${front.join(', ')}.`,
    isMixed
      ? 'The float perplexities differ: these runs were measured on different models or texts, and their perplexities cannot be compared.'
      : '',
    missing.length > 0 ? `Not drawn, because perplexity or size is not known: ${String(missing.length)}.` : '',
  ].filter((text) => text !== '');
  const title = `Perplexity against ${cost.label}`;
  const drawn = { ...picture.svg, attributes: { ...picture.svg.attributes, role: 'img', 'aria-label': title } };
  return section(title, figure(svgText(drawn), caption.join(' ')));
}

const STYLE = `
:root { color-scheme: light dark; --text: #1f2328; --muted: #59636e; --line: #d1d9e0; --back: #fff; --blue: #0969da; --orange: #bc4c00; --green: #1a7f37; --purple: #8250df; --red: #cf222e; --grey: #59636e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --muted: #9198a1; --line: #3d444d; --back: #0d1117; --blue: #4493f8; --orange: #db6d28; --green: #3fb950; --purple: #ab7df8; --red: #f85149; --grey: #9198a1; } }
body { max-width: 1100px; margin: 0 auto; padding: 24px; background: var(--back); color: var(--text); font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { font-size: 16px; margin: 28px 0 8px; }
.about, figcaption { color: var(--muted); font-size: 13px; }
.scroll { max-width: 100%; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: normal; }
thead th { font-weight: 600; }
small { color: var(--muted); }
figure { margin: 0; } svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--muted); } svg .label { fill: var(--text); }
.axis line { stroke: var(--muted); } .axis .grid { stroke: var(--line); }
.front { stroke: var(--blue); stroke-width: 1.5; }
.point { fill: var(--back); stroke: var(--blue); stroke-width: 1.75; } .point.on-front { fill: var(--blue); }
.point.float, .point.round-to-nearest { stroke: var(--orange); }
.point.float.on-front, .point.round-to-nearest.on-front { fill: var(--orange); }
.reference line { stroke: var(--orange); stroke-dasharray: 6 3; }
.curve { fill: none; stroke-width: 1.5; }
.c0 { stroke: var(--blue); } .c1 { stroke: var(--orange); } .c2 { stroke: var(--purple); } .c3 { stroke: var(--green); } .c4 { stroke: var(--red); } .c5 { stroke: var(--grey); }
.d1 { stroke-dasharray: 7 3; } .d2 { stroke-dasharray: 2 3; } .d3 { stroke-dasharray: 9 3 2 3; } .d4 { stroke-dasharray: 14 4; }
@media print { body { max-width: none; } .scroll { overflow: visible; } section { break-inside: avoid; } }
`;
