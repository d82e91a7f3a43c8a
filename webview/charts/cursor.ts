// What the cursor shows in a chart: an upright line and dots on a canvas of its own (the chart itself is not drawn anew), and in
// the chart that it is in one tool tip with the values of all series at that x.
import { cssColour } from '../shared/colour';
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
  private isClear = true;
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
    if (readout === null && this.isClear) return;
    const ratio = Math.max(1, window.devicePixelRatio);
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
    this.isClear = true;
    if (readout === null || area === null) return;
    const x = area.toX(readout.x);
    if (!(x >= area.left - 1 && x <= area.right + 1)) return;
    this.isClear = false;
    context.strokeStyle = cssColour(theme.muted, 0.7);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, area.top);
    context.lineTo(Math.round(x) + 0.5, area.bottom);
    context.stroke();
    for (const row of readout.rows) {
      const { at, sign } = row;
      if (at === null || sign === null) continue;
      const dotX = area.toX(at.x);
      const dotY = area.toY(at.y);
      if (Number.isNaN(dotY) || dotY < area.top - 3 || dotY > area.bottom + 3) continue;
      context.beginPath();
      context.arc(dotX, dotY, row === near ? 4.5 : 3.5, 0, 2 * Math.PI);
      context.fillStyle = cssColour(theme.background);
      context.fill();
      context.lineWidth = 1.75;
      context.strokeStyle = cssColour(sign.colour);
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
