// Lines and markers on a canvas.
import type { Marker } from './series/run-style';
import type { Thinned } from './series/thin';
import { cssColour, type Rgb } from './colour';
import { fillDense, isDense } from './dense-line';
import type { PlotArea } from './plot';

export interface Stroke {
  readonly points: Thinned;
  readonly colour: Rgb;
  readonly alpha: number;
  readonly width: number;
  readonly dash: readonly number[];
  /** 'sparse': one now and then along the line, to tell it from others; 'each': on every point. */
  readonly markers: 'none' | 'sparse' | 'each';
  readonly marker: Marker;
}

/** Pixels between the markers of a line. */
const MARKER_DISTANCE = 90;
const MARKER_SIZE = 3.5;

export function strokeLine(context: CanvasRenderingContext2D, area: PlotArea, stroke: Stroke): void {
  context.save();
  context.strokeStyle = cssColour(stroke.colour, stroke.alpha);
  context.fillStyle = context.strokeStyle;
  if (isDense(stroke.points, area)) fillDense(context, area, stroke.points, stroke);
  else strokePoints(context, area, stroke);
  if (stroke.markers !== 'none') drawMarkers(context, area, stroke);
  context.restore();
}

function strokePoints(context: CanvasRenderingContext2D, area: PlotArea, stroke: Stroke): void {
  const { x: xs, y: ys, length } = stroke.points;
  context.lineWidth = stroke.width;
  context.lineJoin = 'round';
  context.setLineDash([...stroke.dash]);
  context.beginPath();
  let pen = false;
  /** Where a line of one point alone stands: it would not be seen. */
  const alone: [number, number][] = [];
  let run = 0;
  let lastX = 0;
  let lastY = 0;
  const endRun = () => {
    if (run === 1) alone.push([lastX, lastY]);
    run = 0;
  };
  for (let at = 0; at < length; at++) {
    const x = area.toX(xs[at] ?? NaN);
    const y = area.toY(ys[at] ?? NaN);
    if (Number.isNaN(x) || Number.isNaN(y)) {
      endRun();
      pen = false;
      continue;
    }
    if (pen) context.lineTo(x, y);
    else context.moveTo(x, y);
    pen = true;
    run++;
    lastX = x;
    lastY = y;
  }
  endRun();
  context.stroke();
  context.setLineDash([]);
  if (stroke.markers !== 'none') return;
  for (const [x, y] of alone) drawMarker(context, 'circle', x, y, Math.max(1.5, stroke.width));
}

function drawMarkers(context: CanvasRenderingContext2D, area: PlotArea, stroke: Stroke): void {
  const { x: xs, y: ys, length } = stroke.points;
  let next = -Infinity;
  for (let at = 0; at < length; at++) {
    const x = area.toX(xs[at] ?? NaN);
    const y = area.toY(ys[at] ?? NaN);
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    if (stroke.markers === 'sparse') {
      if (x < next) continue;
      // On a raster of the page, not counted from the first point, so that markers do not run along while the line grows.
      next = (Math.floor(x / MARKER_DISTANCE) + 1) * MARKER_DISTANCE;
    }
    drawMarker(context, stroke.marker, x, y, MARKER_SIZE);
  }
}

/** In the context's fill and stroke style. `size`: half of the width. */
export function drawMarker(
  context: CanvasRenderingContext2D,
  marker: Marker,
  x: number,
  y: number,
  size: number,
): void {
  context.beginPath();
  switch (marker) {
    case 'circle':
      context.arc(x, y, size * 0.9, 0, 2 * Math.PI);
      break;
    case 'square':
      context.rect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
      break;
    case 'triangle':
      polygon(context, [x, y - size], [x + size, y + size * 0.8], [x - size, y + size * 0.8]);
      break;
    case 'triangleDown':
      polygon(context, [x, y + size], [x + size, y - size * 0.8], [x - size, y - size * 0.8]);
      break;
    case 'diamond':
      polygon(context, [x, y - size * 1.2], [x + size * 1.1, y], [x, y + size * 1.2], [x - size * 1.1, y]);
      break;
    case 'plus':
    case 'cross': {
      const slant = marker === 'cross';
      context.lineWidth = 1.75;
      context.moveTo(x - size, slant ? y - size : y);
      context.lineTo(x + size, slant ? y + size : y);
      context.moveTo(slant ? x + size : x, y - size);
      context.lineTo(slant ? x - size : x, y + size);
      context.stroke();
      return;
    }
  }
  context.fill();
}

function polygon(context: CanvasRenderingContext2D, first: [number, number], ...rest: [number, number][]): void {
  context.moveTo(...first);
  for (const corner of rest) context.lineTo(...corner);
  context.closePath();
}

/** A vertical line over the whole height with a word at its top. */
export function strokeUpright(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  x: number,
  colour: Rgb,
  label: string,
  font: string,
): void {
  const at = Math.round(area.toX(x)) + 0.5;
  if (!(at >= area.left && at <= area.right)) return;
  context.save();
  context.strokeStyle = cssColour(colour, 0.8);
  context.fillStyle = cssColour(colour);
  context.lineWidth = 1;
  context.setLineDash([2, 3]);
  context.beginPath();
  context.moveTo(at, area.top);
  context.lineTo(at, area.bottom);
  context.stroke();
  context.font = font;
  const width = context.measureText(label).width;
  const left = at + 4 + width > area.right;
  context.textAlign = left ? 'right' : 'left';
  context.fillText(label, left ? at - 4 : at + 4, area.top + 10);
  context.restore();
}

/** A horizontal line over the whole width with its name at the right, or an arrow at the edge beyond which it lies. */
export function strokeReference(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  value: number,
  stroke: {
    readonly colour: Rgb;
    readonly dash: readonly number[];
    readonly label: string;
    readonly font: string;
    /** Kept free around the name, which may stand on curves. */
    readonly background: Rgb;
  },
): void {
  const at = area.toY(value);
  if (Number.isNaN(at)) return;
  const above = at < area.top - 0.5;
  const below = at > area.bottom + 0.5;
  context.save();
  context.strokeStyle = cssColour(stroke.colour);
  context.fillStyle = cssColour(stroke.colour);
  context.font = stroke.font;
  context.textAlign = 'right';
  const name = (label: string, y: number) => {
    context.save();
    context.setLineDash([]);
    context.strokeStyle = cssColour(stroke.background, 0.85);
    context.lineWidth = 3;
    context.lineJoin = 'round';
    context.strokeText(label, area.right - 4, y);
    context.fillText(label, area.right - 4, y);
    context.restore();
  };
  if (above || below) name(`${above ? '↑' : '↓'} ${stroke.label}`, above ? area.top + 10 : area.bottom - 5);
  else {
    context.lineWidth = 1.25;
    context.setLineDash([...stroke.dash]);
    context.beginPath();
    context.moveTo(area.left, at);
    context.lineTo(area.right, at);
    context.stroke();
    name(stroke.label, at - 4 < area.top + 8 ? at + 12 : at - 4);
  }
  context.restore();
}
