// What the cursor shows in a chart: an upright line and dots on a canvas of its own (the chart itself is not drawn anew), and in
// the chart that it is in one tool tip with the values of all series at that x.
import { cssColour } from '../shared/colour';
import { element } from '../shared/dom';
import type { PlotArea } from '../shared/plot';
import type { Theme } from '../shared/theme';
import type { Readout } from './picture';
import { signCanvas } from './sign';

/** Rows of a tool tip at most: more would cover the chart. */
const MOST_ROWS = 14;

export class CursorLayer {
  readonly canvas = element('canvas', { class: 'overlay', 'aria-hidden': 'true' });
  readonly tooltip = element('div', { class: 'tooltip', hidden: true, 'aria-hidden': 'true' });
  private shown = '';

  /** @param readout null: no cursor. @param withTooltip in the chart that the cursor is in. */
  show(readout: Readout | null, area: PlotArea | null, theme: Theme, withTooltip: boolean): void {
    this.drawOverlay(readout, area, theme);
    if (readout === null || area === null || !withTooltip) this.tooltip.hidden = true;
    else this.placeTooltip(readout, area);
  }

  private drawOverlay(readout: Readout | null, area: PlotArea | null, theme: Theme): void {
    const ratio = Math.max(1, window.devicePixelRatio);
    const { canvas } = this;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (readout === null || area === null) return;
    const x = area.toX(readout.x);
    if (!(x >= area.left - 1 && x <= area.right + 1)) return;
    context.strokeStyle = cssColour(theme.muted, 0.7);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, area.top);
    context.lineTo(Math.round(x) + 0.5, area.bottom);
    context.stroke();
    for (const { at, sign } of readout.rows) {
      if (at === null || sign === null) continue;
      const dotX = area.toX(at.x);
      const dotY = area.toY(at.y);
      if (Number.isNaN(dotY) || dotY < area.top - 3 || dotY > area.bottom + 3) continue;
      context.beginPath();
      context.arc(dotX, dotY, 3.5, 0, 2 * Math.PI);
      context.fillStyle = cssColour(theme.background);
      context.fill();
      context.lineWidth = 1.75;
      context.strokeStyle = cssColour(sign.colour);
      context.stroke();
    }
  }

  private placeTooltip(readout: Readout, area: PlotArea): void {
    const { tooltip } = this;
    const content = JSON.stringify([readout.heading, readout.rows.map((row) => [row.label, row.value])]);
    if (content !== this.shown) {
      this.shown = content;
      const rows = readout.rows
        .slice(0, MOST_ROWS)
        .map((row) =>
          element(
            'div',
            { class: 'tooltip-row' },
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
    tooltip.hidden = false;
    const x = area.toX(readout.x);
    const { offsetWidth: width } = tooltip;
    const right = x + 12 + width <= area.right + 12;
    const left = right ? x + 12 : Math.max(0, x - 12 - width);
    tooltip.style.transform = `translate(${String(Math.round(left))}px, ${String(Math.round(area.top + 6))}px)`;
  }
}
