// A real layer's weights on the grid that the settings give it: histogram, levels, and the error that rounding leaves.
import type { LinearQuantization } from '../../native/binding/addon';
import { weightGrid, type WeightGrid, type WeightSample } from '../../src/experiment/weight-grid';
import { cssColour } from '../shared/colour';
import { dataTable } from '../shared/data-table';
import { element, setAttributes, setText } from '../shared/dom';
import type { Theme } from '../shared/theme';
import { dropdownBox, setValue } from '../shared/toolkit';
import { text } from './strings';

/** An error that fills a bar: half a step of a grid with 2 bits, in units of its reach. */
const FULL_ERROR = 0.25;
/** Milliseconds without a change before a grid search is made: the memory bar goes first, and is on the screen only when the second
 *  frame after the change has begun. */
const SETTLE = 50;
const HEIGHT = 150;

export type Spec = Pick<LinearQuantization, 'bits' | 'groupSize' | 'range' | 'symmetric'>;

interface Input {
  readonly linear: string;
  /** null: kept in float. */
  readonly spec: Spec | null;
  readonly sample: WeightSample | null;
  /** In place of a sample. */
  readonly missing: string | null;
  readonly theme: Theme;
}

export class GridView {
  readonly root: HTMLElement;
  private readonly picker = element('span', { class: 'choice' });
  private readonly canvas = element('canvas', { role: 'img', height: HEIGHT });
  private readonly summary = element('p', { class: 'help' });
  private readonly message = element('p', { class: 'help' });
  private readonly note = element('p', { class: 'help' });
  private readonly legend = element(
    'p',
    { class: 'legend' },
    swatch('weights', text.gridLegendWeights()),
    swatch('error', text.gridLegendError()),
    swatch('level', text.gridLegendLevels()),
  );
  private readonly table = element('div', {
    class: 'table-box',
    role: 'region',
    tabindex: 0,
    'aria-label': text.gridTable(),
  });
  private readonly details: HTMLDetailsElement;
  private pickerKey = '';
  private timer: ReturnType<typeof setTimeout> | undefined;
  private input: Input | null = null;
  private grid: { readonly key: string; readonly sample: WeightSample; readonly value: WeightGrid } | null = null;

  constructor(private readonly onPick: (linear: string) => void) {
    this.details = element('details', {}, element('summary', {}, text.asTable()), this.table);
    this.details.addEventListener('toggle', () => this.showTable());
    this.root = element(
      'section',
      { class: 'card grid-view', 'aria-label': text.grid() },
      element('h2', {}, text.grid()),
      this.picker,
      this.message,
      this.canvas,
      this.legend,
      this.summary,
      this.note,
      this.details,
    );
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  showLinears(linears: readonly string[], chosen: string): void {
    const key = linears.join();
    if (key !== this.pickerKey) {
      this.pickerKey = key;
      const short = (name: string): string => name.replace(/^model\.layers\./, '');
      const choices = linears.map((value) => ({ value, label: short(value) }));
      const box = dropdownBox(text.linear(), choices, chosen, this.onPick);
      this.picker.replaceChildren(box);
    }
    const box = this.picker.firstElementChild;
    if (box instanceof HTMLElement) setValue(box, chosen);
    this.picker.hidden = linears.length === 0;
  }

  show(input: Input): void {
    this.input = input;
    const { spec, sample, missing } = input;
    const words = missing ?? (spec === null ? text.keptFloat() : sample === null ? text.readingWeights() : '');
    const isDrawn = words === '';
    setText(this.message, words);
    this.message.hidden = isDrawn;
    for (const part of [this.canvas, this.legend, this.summary, this.note, this.details]) part.hidden = !isDrawn;
    if (!isDrawn) setAttributes(this.root, { 'data-levels': null });
    clearTimeout(this.timer);
    if (isDrawn) this.timer = setTimeout(() => this.work(), SETTLE);
  }

  private work(): void {
    const { spec, sample, linear } = this.input ?? {};
    if (spec === undefined || spec === null || sample === undefined || sample === null) return;
    const key = `${linear ?? ''} ${JSON.stringify(spec)}`;
    if (this.grid?.key !== key || this.grid.sample !== sample) {
      this.grid = { key, sample, value: weightGrid(sample, spec) };
    }
    const { levels, relativeError, zeroShare, clippedShare } = this.grid.value;
    const words = text.gridSummary(
      String(levels.length),
      percent(relativeError),
      percent(zeroShare),
      percent(clippedShare),
    );
    setText(this.summary, words);
    setAttributes(this.canvas, { 'aria-label': words });
    setText(this.note, text.gridSample(sample.values.length.toLocaleString('en-US'), String(sample.rows)));
    setAttributes(this.root, { 'data-levels': levels.length, 'data-error': relativeError.toFixed(5) });
    this.draw();
    this.showTable();
  }

  private draw(): void {
    const context = this.canvas.getContext('2d');
    const { input, grid } = this;
    if (context === null || input === null || grid === null || this.canvas.hidden) return;
    const width = this.canvas.clientWidth;
    if (width === 0) return;
    const scale = window.devicePixelRatio;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(HEIGHT * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    drawGrid(context, grid.value, { width, height: HEIGHT, theme: input.theme });
  }

  private showTable(): void {
    if (!this.details.open || this.grid === null) return;
    const { counts, error, low, high } = this.grid.value;
    const width = (high - low) / counts.length;
    const rows = [...counts].flatMap((count, bin) =>
      count === 0
        ? []
        : [
            [
              (low + bin * width).toFixed(3),
              (low + (bin + 1) * width).toFixed(3),
              String(count),
              (error[bin] ?? 0).toFixed(4),
            ],
          ],
    );
    const columns = [text.gridFrom(), text.gridTo(), text.gridCount(), text.gridError()];
    this.table.replaceChildren(
      dataTable(`${text.gridTable()}. ${text.gridUnit()}`, {
        columns: columns.map((label) => ({ label, numeric: true })),
        rows,
      }),
    );
  }
}

interface Drawing {
  readonly width: number;
  readonly height: number;
  readonly theme: Theme;
}

const TICKS = 14;

function drawGrid(context: CanvasRenderingContext2D, grid: WeightGrid, { width, height, theme }: Drawing): void {
  const { counts, error, low, high, levels } = grid;
  const base = height - TICKS;
  const most = Math.max(...counts, 1);
  const x = (value: number): number => ((value - low) / (high - low)) * width;
  const [weights, wrong] = [theme.chart('blue'), theme.chart('orange')];
  context.clearRect(0, 0, width, height);
  // Levels behind the bars; where they are dense only as marks below.
  const dense = levels.length > 32;
  context.fillStyle = cssColour(theme.foreground, dense ? 0.5 : 0.8);
  for (const level of levels) {
    const at = Math.round(x(level));
    context.fillRect(at, base + 2, 1, dense ? 5 : TICKS - 4);
    if (dense) continue;
    context.globalAlpha = 0.25;
    context.fillRect(at, 0, 1, base);
    context.globalAlpha = 1;
  }
  const step = width / counts.length;
  counts.forEach((count, bin) => {
    if (count === 0) return;
    const bar = Math.max(1, (count / most) * (base - 4));
    const part = bar * Math.min(1, (error[bin] ?? 0) / FULL_ERROR);
    const left = Math.round(bin * step);
    const right = Math.max(left + 1, Math.round((bin + 1) * step) - 1);
    context.fillStyle = cssColour(weights, 0.75);
    context.fillRect(left, base - bar + part, right - left, bar - part);
    context.fillStyle = cssColour(wrong);
    context.fillRect(left, base - bar, right - left, part);
    // The edge between both is a second sign beside the colours.
    context.fillStyle = cssColour(theme.background);
    if (part > 2 && bar - part > 2) context.fillRect(left, base - bar + part, right - left, 1);
  });
  context.fillStyle = cssColour(theme.muted);
  context.fillRect(0, base, width, 1);
}

function swatch(kind: string, label: string): HTMLElement {
  return element('span', { class: 'legend-item' }, element('span', { class: 'swatch', 'data-grid': kind }), label);
}

function percent(share: number): string {
  const hundredths = share * 100;
  return `${hundredths.toFixed(hundredths >= 10 || hundredths === 0 ? 0 : hundredths >= 1 ? 1 : 2)} %`;
}
