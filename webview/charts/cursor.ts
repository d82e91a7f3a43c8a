// What the cursor shows in a chart: an upright line and dots on a canvas of its own (the chart itself is not drawn anew), and in
// the chart that it is in one tool tip with the values of all series at that x.
import { cssColour, type Rgb } from '../shared/colour';
import { element } from '../shared/dom';
import type { PlotArea } from '../shared/plot';
import type { Theme } from '../shared/theme';
import type { Readout, ReadoutRow } from './picture';
import { signCanvas } from './sign';

/** Rows of a tool tip at most: more would cover the chart. */
const MOST_ROWS = 14;

export interface CursorOptions {
  /** null: the chart is not drawn yet. */
  readonly area: PlotArea | null;
  readonly theme: Theme;
  /** Of the chart, in CSS pixels. */
  readonly size: { readonly width: number; readonly height: number };
  /** In the chart that the cursor is in. */
  readonly withTooltip: boolean;
  /** The value that the pointer is nearest to. */
  readonly near: ReadoutRow | null;
}

export class CursorLayer {
  readonly canvas = element('canvas', { class: 'overlay', 'aria-hidden': 'true' });
  readonly tooltip = element('div', { class: 'tooltip', hidden: true, 'aria-hidden': 'true' });
  private shown = '';
  /** What the canvas shows; empty: nothing. */
  private drawn = '';
  /** Of the tool tip with what it says now: measuring it makes the browser lay out the page. */
  private tooltipWidth = 0;

  /** @param readout null: no cursor. */
  show(readout: Readout | null, options: CursorOptions): void {
    const { area, withTooltip } = options;
    this.drawOverlay(readout, options);
    if (readout === null || area === null || !withTooltip) this.tooltip.hidden = true;
    else this.placeTooltip(readout, area, options);
  }

  private drawOverlay(readout: Readout | null, { area, theme, size, near }: CursorOptions): void {
    const mark = readout === null || area === null ? null : markOf(readout, area, near);
    // Handing a canvas over costs as much as drawing it: one that would not change is left alone.
    const ratio = Math.max(1, window.devicePixelRatio);
    const key = mark === null ? '' : JSON.stringify([mark, size, ratio, theme.kind, theme.background, theme.muted]);
    if (key === this.drawn) return;
    this.drawn = key;
    const { canvas } = this;
    const width = Math.round(size.width * ratio);
    const height = Math.round(size.height * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.width, size.height);
    if (mark === null) return;
    context.strokeStyle = cssColour(theme.muted, 0.7);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(mark.x, mark.top);
    context.lineTo(mark.x, mark.bottom);
    context.stroke();
    for (const { x, y, colour, size: radius } of mark.dots) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = cssColour(theme.background);
      context.fill();
      context.lineWidth = 1.75;
      context.strokeStyle = cssColour(colour);
      context.stroke();
    }
  }

  private placeTooltip(readout: Readout, area: PlotArea, { near }: CursorOptions): void {
    const { tooltip } = this;
    const content = JSON.stringify([readout.heading, readout.rows.map((row) => [row.label, row.value, row === near])]);
    const changed = content !== this.shown;
    if (changed) {
      this.shown = content;
      const rows = rowsToShow(readout.rows, near).map((row) =>
        element(
          'div',
          { class: row === near ? 'tooltip-row near' : 'tooltip-row' },
          row.sign === null ? null : signCanvas(row.sign),
          element('span', { class: 'tooltip-label' }, row.label),
          element('span', { class: 'tooltip-value' }, row.value),
        ),
      );
      const more = readout.rows.length - rows.length;
      tooltip.replaceChildren(
        element('div', { class: 'tooltip-heading' }, readout.heading),
        ...rows,
        ...(more > 0 ? [element('div', { class: 'tooltip-heading' }, `+ ${String(more)}`)] : []),
      );
    }
    if (tooltip.hidden || changed) {
      tooltip.hidden = false;
      this.tooltipWidth = tooltip.offsetWidth;
    }
    const x = area.toX(readout.x);
    const width = this.tooltipWidth;
    const right = x + 12 + width <= area.right + 12;
    const left = right ? x + 12 : Math.max(0, x - 12 - width);
    tooltip.style.transform = `translate(${String(Math.round(left))}px, ${String(Math.round(area.top + 6))}px)`;
  }
}

/** The first ones, and the one that is pointed at in any case. */
function rowsToShow(rows: readonly ReadoutRow[], near: ReadoutRow | null): readonly ReadoutRow[] {
  const first = rows.slice(0, MOST_ROWS);
  return near === null || first.includes(near) ? first : [...first.slice(0, -1), near];
}

/** The cursor in a chart, in pixels. */
interface CursorMark {
  readonly x: number;
  readonly top: number;
  readonly bottom: number;
  readonly dots: readonly { readonly x: number; readonly y: number; readonly colour: Rgb; readonly size: number }[];
}

/** null: it lies outside. */
function markOf(readout: Readout, area: PlotArea, near: ReadoutRow | null): CursorMark | null {
  const x = area.toX(readout.x);
  if (!(x >= area.left - 1 && x <= area.right + 1)) return null;
  return {
    x: Math.round(x) + 0.5,
    top: area.top,
    bottom: area.bottom,
    dots: readout.rows.flatMap((row) => {
      if (row.at === null || row.sign === null) return [];
      const y = area.toY(row.at.y);
      if (Number.isNaN(y) || y < area.top - 3 || y > area.bottom + 3) return [];
      return [{ x: tenths(area.toX(row.at.x)), y: tenths(y), colour: row.sign.colour, size: row === near ? 4.5 : 3.5 }];
    }),
  };
}

/** Less than a tenth of a pixel is not seen. */
function tenths(at: number): number {
  return Math.round(at * 10) / 10;
}
