// One chart with what stands around it: title, newest value, tools, notes, table.
import { dataTable } from '../shared/data-table';
import { element, setAttributes, setText } from '../shared/dom';
import { reading } from '../shared/format';
import { icon } from '../shared/icons';
import { Plot, type PlotArea } from '../shared/plot';
import { fractionOf, type Range } from '../shared/series/axis';
import { button, setPressed } from '../shared/toolkit';
import { listenToChart, type PointerPlace } from './chart-input';
import { CursorLayer } from './cursor';
import type { CardOptions, ChartDefinition, LegendEntry, Picture, Readout, ReadoutRow, Scene } from './picture';
import { scaleLegend, signCanvas } from './sign';
import { text } from './strings';
import { xPlotAxis } from './x-axis';

export interface CardHost {
  /** x was zoomed or moved. */
  readonly onView: (card: ChartCard, x: Range) => void;
  readonly onReset: () => void;
  /** Something about this card has changed that only the next frame can show. */
  readonly onChange: () => void;
  readonly onCursor: (card: ChartCard, x: number | null) => void;
  /** The pointer is near a run's curve; null: near none. */
  readonly onPoint: (run: string | null) => void;
  readonly onZoom: (factor: number, focus: number) => void;
  readonly onPan: (share: number) => void;
  readonly onLog: (id: string, log: boolean) => void;
  readonly onTable: (id: string, shown: boolean) => void;
  readonly onExport: (card: ChartCard, kind: 'png' | 'csv') => void;
  /** For screen readers. */
  readonly announce: (message: string) => void;
}

/** Below this a box was meant for the other direction only. */
const THIN_BOX = 14;

export class ChartCard {
  readonly root: HTMLElement;
  /** Content beside the title that belongs to one chart only (a choice of quantity). */
  readonly extra = element('span', { class: 'card-extra' });
  private readonly plot: Plot;
  private readonly plotBox: HTMLElement;
  private readonly cursor = new CursorLayer();
  private readonly unit = element('span', { class: 'unit' });
  private readonly legend = element('span', { class: 'legend' });
  private readonly latest = element('span', { class: 'latest' });
  private readonly notes = element('p', { class: 'notes', hidden: true });
  private readonly empty = element('div', { class: 'empty', hidden: true });
  private readonly table = element('div', { class: 'table', hidden: true, tabindex: 0 });
  private readonly logButton: HTMLElement | null;
  private readonly tableButton: HTMLElement;
  private shown: { readonly scene: Scene; readonly picture: Picture } | null = null;
  private y: Range | null = null;
  private logY = false;
  private tableShown = false;
  private pointer: PointerPlace | null = null;
  private box = { width: 0, height: 0 };
  private legendKey = '';
  /** What stands around the plot. */
  private said = '';
  private height = 0;

  constructor(
    readonly definition: ChartDefinition,
    private readonly host: CardHost,
  ) {
    const { id } = definition;
    const title = definition.title();
    const canvas = element('canvas', { 'aria-hidden': 'true' });
    this.plotBox = element(
      'div',
      {
        class: 'plot',
        tabindex: 0,
        role: 'application',
        'aria-roledescription': text.chartRole(),
        'aria-describedby': 'chart-help',
      },
      element('div', { class: 'plot-canvas' }, canvas),
      this.cursor.canvas,
      this.cursor.tooltip,
      this.empty,
    );
    const tool = (label: string, shape: Parameters<typeof icon>[0], onClick: () => void) =>
      button({ look: 'icon', label, icon: icon(shape), onClick });
    this.logButton = definition.canLog
      ? button({
          look: 'icon',
          label: text.logY(title),
          text: text.logShort(),
          onClick: () => host.onLog(id, !this.logY),
        })
      : null;
    this.tableButton = tool(text.table(title), 'table', () => host.onTable(id, !this.tableShown));
    for (const each of [this.logButton, this.tableButton]) if (each !== null) setPressed(each, false);
    this.root = element(
      'section',
      { class: definition.wide ? 'card wide' : 'card', 'data-chart': id, 'aria-labelledby': `title-${id}` },
      element(
        'div',
        { class: 'card-head' },
        element(
          'div',
          { class: 'card-title' },
          element('h2', { id: `title-${id}` }, title),
          this.unit,
          this.legend,
          this.extra,
        ),
        this.latest,
        element(
          'span',
          { class: 'card-tools', role: 'group', 'aria-label': title },
          this.logButton,
          this.tableButton,
          tool(text.png(title), 'image', () => host.onExport(this, 'png')),
          tool(text.csv(title), 'csv', () => host.onExport(this, 'csv')),
        ),
      ),
      this.plotBox,
      this.notes,
      this.table,
    );
    this.plot = new Plot(canvas, definition.axisWidth, {
      onView: (x, y, gesture) => this.viewed(x, y, gesture),
      onReset: () => this.reset(),
      onResize: () => host.onChange(),
    });
    this.listen();
  }

  get picture(): Picture | null {
    return this.shown?.picture ?? null;
  }

  get legendEntries(): readonly LegendEntry[] {
    return this.shown?.picture.legend ?? [];
  }

  /** The plot alone, for a picture file. */
  canvas(width: number, height: number, ratio: number): HTMLCanvasElement | null {
    return this.shown === null ? null : this.plot.picture(this.shown.scene.theme, width, height, ratio);
  }

  /** Of the plot, as last measured. */
  get size(): { readonly width: number; readonly height: number } {
    return this.box;
  }

  /** Takes the size that the page gives. Reads only, so that all cards can be measured before the first is written to. */
  measure(): void {
    this.box = { width: this.plotBox.clientWidth, height: this.plotBox.clientHeight };
  }

  /** Shows all of y again, too. */
  forgetZoom(): void {
    this.y = null;
  }

  render(scene: Scene, { logY, tableShown }: { readonly logY: boolean; readonly tableShown: boolean }): void {
    if (logY !== this.logY) {
      this.y = null;
      this.logY = logY;
      if (this.logButton !== null) setPressed(this.logButton, logY);
    }
    const height = this.definition.height(scene);
    if (height !== this.height) {
      this.height = height;
      this.plotBox.style.height = `${String(height)}px`;
      this.box = { ...this.box, height };
    }
    const width = this.plot.dataWidth(this.box.width);
    const options: CardOptions = { logY, y: this.y, width, height: Math.max(1, height - 32) };
    const picture = this.definition.picture(scene, options);
    this.shown = { scene, picture };
    this.plot.render(
      {
        x: xPlotAxis(scene.x, scene.axis, options.width),
        y: picture.y,
        panY: this.y !== null,
        draw: picture.draw,
      },
      scene.theme,
    );
    this.renderAround(scene, picture);
    this.renderTable(picture, tableShown);
  }

  /** @param x of the panel's cursor, null: none. @param own the cursor is in this chart. */
  showCursor(x: number | null, own: boolean): void {
    if (this.shown === null) return;
    const { picture, scene } = this.shown;
    const pointer = own ? this.pointer : null;
    const readout = x === null || picture.empty !== null ? null : picture.readout(x, pointer?.row ?? null);
    const { area } = this.plot;
    const near = area === null || pointer === null ? null : nearestRow(readout, area, pointer.y);
    this.cursor.show(readout, { area, theme: scene.theme, size: this.box, withTooltip: own, near });
    if (pointer !== null && scene.several) this.host.onPoint(near?.run?.info.id ?? null);
  }

  private renderAround(scene: Scene, picture: Picture): void {
    setAttributes(this.root, {
      'data-points': picture.points,
      'data-drawn': picture.drawn,
      'data-last-step': picture.lastStep,
      'data-y-min': picture.y.axis.min,
      'data-y-max': picture.y.axis.max,
    });
    const unit = this.definition.unit(scene);
    const named = scene.focus?.info.name ?? null;
    const { latest, lastStep, notes, empty } = picture;
    const said = JSON.stringify([unit, named, latest, lastStep, notes, empty]);
    if (said !== this.said) {
      this.said = said;
      setText(this.unit, unit);
      setText(this.latest, latest ?? '');
      setText(this.notes, notes.join(' · '));
      this.notes.hidden = notes.length === 0;
      setText(this.empty, empty ?? '');
      this.empty.hidden = empty === null;
      const summary =
        latest === null || named === null ? text.nothingYet() : text.latest(named, latest, reading(lastStep, 'step'));
      setAttributes(this.plotBox, { 'aria-label': text.chartSummary(this.definition.title(), summary) });
    }
    const key = JSON.stringify([picture.legend, picture.scale, scene.theme.kind, window.devicePixelRatio]);
    if (key !== this.legendKey) {
      this.legendKey = key;
      this.legend.replaceChildren(
        ...picture.legend.map(({ sign, label }) => element('span', { class: 'legend-entry' }, signCanvas(sign), label)),
        ...(picture.scale === null ? [] : [scaleLegend(picture.scale)]),
      );
    }
  }

  private renderTable(picture: Picture, tableShown: boolean): void {
    if (tableShown !== this.tableShown) {
      this.tableShown = tableShown;
      setPressed(this.tableButton, tableShown);
      this.table.hidden = !tableShown;
      if (!tableShown) this.table.replaceChildren();
    }
    if (!tableShown) return;
    const data = picture.table();
    const title = this.definition.title();
    const caption = text.tableCaption(title, reading(data.rows.length, 'step'), reading(data.total, 'step'));
    setAttributes(this.table, { role: 'region', 'aria-label': caption });
    this.table.replaceChildren(dataTable(caption, data));
  }

  private reset(): void {
    this.y = null;
    this.host.onReset();
  }

  private viewed(x: Range, y: Range, gesture: 'box' | 'wheel' | 'pan'): void {
    const area = this.plot.area;
    if (this.shown === null || area === null) return;
    const { scene, picture } = this.shown;
    const pixels = (axis: Scene['axis'], range: Range, length: number) =>
      (fractionOf(axis, range.max) - fractionOf(axis, range.min)) * length;
    const high = pixels(picture.y.axis, y, area.bottom - area.top);
    const wide = pixels(scene.axis, x, area.right - area.left);
    if (gesture === 'box' ? high >= THIN_BOX : gesture === 'pan' && this.y !== null) this.y = y;
    if (gesture === 'box' && wide < THIN_BOX) this.host.onChange();
    else this.host.onView(this, x);
  }

  private listen(): void {
    const { host } = this;
    listenToChart(this.plotBox, {
      shown: () => {
        const { area } = this.plot;
        return this.shown === null || area === null ? null : { ...this.shown, area };
      },
      onPointer: (x, place) => {
        // Only a pointer points at curves, not the keyboard's cursor.
        if (place === null && this.pointer !== null) host.onPoint(null);
        this.pointer = place;
        host.onCursor(this, x);
      },
      onZoom: host.onZoom,
      onPan: host.onPan,
      onReset: () => this.reset(),
      announce: host.announce,
    });
  }
}

/** Pixels within which a curve is meant by the pointer. */
const NEAR = 20;

/** The value whose curve is nearest to the pointer. */
function nearestRow(readout: Readout | null, area: PlotArea, y: number): ReadoutRow | null {
  let nearest: ReadoutRow | null = null;
  let least = NEAR;
  for (const row of readout?.rows ?? []) {
    if (row.run === null || row.at === null) continue;
    const distance = Math.abs(area.toY(row.at.y) - y);
    if (distance >= least) continue;
    least = distance;
    nearest = row;
  }
  return nearest;
}
