// The picture of perplexity against cost, with what is needed to read it by mouse, by keys and as a table.
import {
  COSTS,
  paretoPicture,
  showNumber,
  type Pareto,
  type ParetoPoint,
  type PlacedPoint,
  type SvgNode,
} from '../../src/compare';
import { dataTable } from '../shared/data-table';
import { element, setAttributes, setText, svg } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, checkbox, dropdown, setChecked, setPressed } from '../shared/toolkit';
import { COST_KEYS, type PanelState } from './protocol';
import { text } from './strings';

type Options = PanelState['picture'];

export interface ParetoHost {
  readonly onChange: (change: Partial<Options>) => void;
}

const HEIGHT = 330;

export class ParetoCard {
  readonly root: HTMLElement;
  private readonly log: HTMLElement;
  private readonly tableButton: HTMLElement;
  private readonly plot: HTMLElement;
  private readonly drawing = element('div', { class: 'drawing' });
  private readonly tooltip = element('div', { class: 'tooltip', hidden: true });
  private readonly empty = element('p', { class: 'empty', hidden: true }, text.nothingToDraw());
  private readonly notes = element('p', { class: 'notes', hidden: true });
  private readonly table = element('div', { class: 'table', hidden: true, tabindex: 0 });
  private readonly live = element('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  private shown: { readonly pareto: Pareto; readonly options: Options } | null = null;
  private points: readonly PlacedPoint[] = [];
  private active = -1;
  private drawn = '';
  /** Of the drawing, pixels; null: not known yet. */
  private width: number | null = null;

  constructor(host: ParetoHost) {
    const choices = COSTS.map(({ key, label }) => ({ value: key, label }));
    const cost = dropdown(text.cost(), choices, 'bitsPerWeight', (value) => {
      const key = COST_KEYS.find((each) => each === value);
      if (key !== undefined) host.onChange({ cost: key });
    });
    this.log = checkbox({
      label: text.log(),
      title: text.logTitle(),
      checked: false,
      onChange: (log) => host.onChange({ log }),
    });
    this.tableButton = button({
      look: 'icon',
      label: text.asTable(),
      icon: icon('table'),
      onClick: () => host.onChange({ table: this.shown?.options.table !== true }),
    });
    this.plot = element(
      'div',
      {
        class: 'plot',
        tabindex: 0,
        role: 'application',
        'aria-roledescription': text.pictureRole(),
        'aria-labelledby': 'picture-title',
        'aria-describedby': 'picture-help',
      },
      this.drawing,
      this.tooltip,
      this.empty,
    );
    this.root = element(
      'section',
      { class: 'card', 'aria-labelledby': 'picture-title' },
      element(
        'div',
        { class: 'card-head' },
        element('h2', { id: 'picture-title' }, text.picture()),
        element('span', { class: 'spring' }),
        cost,
        this.log,
        this.tableButton,
      ),
      this.plot,
      this.notes,
      this.table,
      element('p', { id: 'picture-help', class: 'visually-hidden' }, text.pictureHelp()),
      this.live,
    );
    this.listen();
  }

  render(pareto: Pareto, options: Options): void {
    this.shown = { pareto, options };
    // Asked of the element in the midst of drawing it would make the browser lay out the whole page twice.
    this.width ??= this.plot.clientWidth;
    const width = Math.max(240, this.width);
    const key = JSON.stringify([pareto, options.log, width]);
    const dropdownOf = this.root.querySelector('vscode-dropdown');
    if (dropdownOf !== null && 'value' in dropdownOf && dropdownOf.value !== options.cost)
      dropdownOf.value = options.cost;
    setPressed(this.tableButton, options.table);
    if (key !== this.drawn) this.draw(pareto, options, width);
    this.drawn = key;
    this.table.hidden = !options.table;
    if (options.table) this.table.replaceChildren(pointTable(pareto));
  }

  private draw(pareto: Pareto, { log }: Options, width: number): void {
    const picture = paretoPicture(pareto, { width, height: HEIGHT, log });
    this.points = picture?.points ?? [];
    this.drawing.replaceChildren(...(picture === null ? [] : [elementOf(picture.svg)]));
    this.drawing.firstElementChild?.setAttribute('aria-hidden', 'true');
    this.empty.hidden = picture !== null;
    setChecked(this.log, log ?? false);
    const notes = [
      pareto.isMixed ? text.incomparable() : '',
      pareto.references.length > 0 ? text.noMemoryOfReferences() : '',
      pareto.missing.length > 0 && picture !== null ? text.notDrawn(pareto.missing.length) : '',
    ].filter((note) => note !== '');
    this.notes.hidden = notes.length === 0;
    setText(this.notes, notes.join(' '));
    setAttributes(this.root, {
      'data-points': pareto.points.filter(({ kind }) => kind === 'run').length,
      'data-on-front': pareto.points.filter(({ onFront }) => onFront).length,
      'data-cost': pareto.cost.key,
    });
    this.show(-1);
  }

  private show(index: number): void {
    const at = this.points[index];
    this.active = at === undefined ? -1 : index;
    this.tooltip.hidden = at === undefined;
    for (const each of this.drawing.querySelectorAll('.active')) each.classList.remove('active');
    if (at === undefined || this.shown === null) return;
    this.drawing.querySelector(`[data-index="${String(index)}"]`)?.classList.add('active');
    const { cost } = this.shown.pareto;
    this.tooltip.replaceChildren(
      element('div', { class: 'tooltip-label' }, at.point.label),
      element('div', { class: 'tooltip-heading' }, sentence(at.point, cost)),
    );
    const { clientWidth } = this.plot;
    const { offsetWidth, offsetHeight } = this.tooltip;
    const left = at.x + 12 + offsetWidth > clientWidth ? Math.max(0, at.x - 12 - offsetWidth) : at.x + 12;
    const top = Math.max(0, at.y - offsetHeight - 8);
    this.tooltip.style.transform = `translate(${String(Math.round(left))}px, ${String(Math.round(top))}px)`;
  }

  private listen(): void {
    const { plot } = this;
    plot.addEventListener('pointermove', (event) => {
      const box = plot.getBoundingClientRect();
      this.show(nearest(this.points, event.clientX - box.left, event.clientY - box.top));
    });
    plot.addEventListener('pointerleave', () => this.show(-1));
    plot.addEventListener('blur', () => this.show(-1));
    plot.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const last = this.points.length - 1;
      const wanted = {
        ArrowRight: Math.min(last, this.active + 1),
        ArrowUp: Math.min(last, this.active + 1),
        ArrowLeft: Math.max(0, this.active - 1),
        ArrowDown: Math.max(0, this.active - 1),
        Home: 0,
        End: last,
        Escape: -1,
      }[event.key];
      if (wanted === undefined || last < 0) return;
      event.preventDefault();
      this.show(wanted);
      const at = this.points[wanted];
      if (at !== undefined && this.shown !== null) {
        setText(this.live, `${at.point.label}: ${sentence(at.point, this.shown.pareto.cost)}`);
      }
    });
    new ResizeObserver(([entry]) => {
      this.width = entry?.contentRect.width ?? null;
      if (this.shown !== null) this.render(this.shown.pareto, this.shown.options);
    }).observe(plot);
  }
}

function sentence(point: ParetoPoint, { label, unit }: Pareto['cost']): string {
  return [
    `${text.perplexity()} ${showNumber(point.perplexity, 'perplexity')}`,
    `${label} ${showNumber(point.cost, unit)}`,
    point.onFront ? text.onFront() : text.dominated(),
  ].join(' · ');
}

/** Within a finger's width; −1: none is so near. */
function nearest(points: readonly PlacedPoint[], x: number, y: number): number {
  let found = -1;
  let least = 24;
  points.forEach((point, index) => {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance < least) [found, least] = [index, distance];
  });
  return found;
}

function pointTable({ cost, points }: Pareto): HTMLTableElement {
  return dataTable(text.picture(), {
    columns: [
      { label: text.run(), numeric: false },
      { label: cost.label, numeric: true },
      { label: text.perplexity(), numeric: true },
      { label: text.front(), numeric: false },
    ],
    rows: [...points]
      .sort((a, b) => a.cost - b.cost || a.perplexity - b.perplexity)
      .map((point) => [
        point.label,
        showNumber(point.cost, cost.unit),
        showNumber(point.perplexity, 'perplexity'),
        point.onFront ? text.yes() : text.no(),
      ]),
  });
}

function elementOf({ tag, attributes, children }: SvgNode): SVGElement {
  return svg(tag, attributes, ...children.map((child) => (typeof child === 'string' ? child : elementOf(child))));
}
