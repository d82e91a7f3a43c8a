// Grid, marks and names of a plot's axes on its canvas.
//
// Chart.js would measure every label, fit the boxes around them and resolve dozens of options at each frame. Here the room of the
// axes is fixed (all charts of a panel stand in line), so a frame costs a line and a text a mark.
import { cssColour } from './colour';
import type { Axis } from './series/axis';
import type { Theme } from './theme';

export interface PlotAxis {
  readonly axis: Axis;
  readonly ticks: readonly number[];
  readonly label: (value: number) => string;
  /** Values grow downwards (the rows of a heat map). */
  readonly downwards?: boolean;
  readonly grid?: boolean;
}

/** The rectangle of the data, in CSS pixels of the canvas. */
export interface PlotArea {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly toX: (value: number) => number;
  readonly toY: (value: number) => number;
}

/** Pixels between an axis and its labels. */
const GAP = 6;

/** Pixels that the labels below a plot take. */
export function labelHeight(theme: Theme): number {
  return Math.ceil(theme.fontSize * 1.2) + GAP;
}

/** Lines behind the data. */
export function drawGrid(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  { x, y }: { readonly x: PlotAxis; readonly y: PlotAxis },
  theme: Theme,
): void {
  context.strokeStyle = cssColour(theme.grid);
  context.lineWidth = 1;
  context.beginPath();
  if (y.grid !== false) {
    for (const value of y.ticks) {
      const at = sharp(area.toY(value));
      if (at < area.top || at > area.bottom) continue;
      context.moveTo(area.left, at);
      context.lineTo(area.right, at);
    }
  }
  if (x.grid !== false) {
    for (const value of x.ticks) {
      const at = sharp(area.toX(value));
      if (at < area.left || at > area.right) continue;
      context.moveTo(at, area.top);
      context.lineTo(at, area.bottom);
    }
  }
  context.moveTo(sharp(area.left), area.top);
  context.lineTo(sharp(area.left), sharp(area.bottom));
  context.lineTo(area.right, sharp(area.bottom));
  context.stroke();
}

/** Labels beside the data. @param width of the canvas */
export function drawLabels(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  { x, y }: { readonly x: PlotAxis; readonly y: PlotAxis },
  theme: Theme,
  width: number,
): void {
  useFont(context, `${String(theme.fontSize)}px ${theme.font}`);
  context.fillStyle = cssColour(theme.muted);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  // During a gesture the scales are ahead of the frame; a mark outside of them has no place.
  const slack = 0.5;
  for (const value of y.ticks) {
    const at = area.toY(value);
    if (at >= area.top - slack && at <= area.bottom + slack) context.fillText(y.label(value), area.left - GAP, at);
  }
  context.textAlign = 'center';
  context.textBaseline = 'top';
  for (const value of x.ticks) {
    const at = area.toX(value);
    if (!(at >= area.left - slack && at <= area.right + slack)) continue;
    const label = x.label(value);
    // The last one would else be cut off where it stands at the very end.
    const half = at > width - 40 ? context.measureText(label).width / 2 : 0;
    context.fillText(label, Math.min(at, width - half - 1), area.bottom + GAP);
  }
  context.textAlign = 'start';
  context.textBaseline = 'alphabetic';
}

/** The middle of the pixel that a thin line then covers alone. */
function sharp(at: number): number {
  return Math.round(at - 0.5) + 0.5;
}

const fonts = new WeakMap<CanvasRenderingContext2D, { readonly asked: string; readonly given: string }>();

/** Sets the font where it is another: setting it, the same or not, makes the browser bring the page's styles up to date. */
function useFont(context: CanvasRenderingContext2D, font: string): void {
  const known = fonts.get(context);
  // A canvas that gets another size forgets its font.
  if (known?.asked === font && known.given === context.font) return;
  context.font = font;
  fonts.set(context, { asked: font, given: context.font });
}
