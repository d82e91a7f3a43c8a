// Loss curves of several runs as one picture for a report. Colours and dashes come from the style sheet, by class.
import type { MetricsEvent } from '../runs/events';
import { scaleOf } from './scale';
import { node, round, type SvgNode } from './svg';

export interface LossCurve {
  readonly label: string;
  /** Of the same length; steps ascend. NaN: not finite in training. */
  readonly steps: readonly number[];
  readonly losses: readonly number[];
}

/** The losses of all steps. */
export function curveOf(events: readonly MetricsEvent[]): Pick<LossCurve, 'steps' | 'losses'> {
  const steps = events.filter((event) => event.type === 'step');
  return { steps: steps.map(({ step }) => step), losses: steps.map(({ loss }) => loss ?? NaN) };
}

/** Colours and dashes; their numbers have no common divisor, so that the first 30 curves all look different. */
export const CURVE_COLOURS = 6;
export const CURVE_DASHES = 5;

const MARGIN = { left: 58, right: 16, top: 12, bottom: 40 };
const LEGEND_LINE = 16;
const LEGEND_COLUMN = 260;

/** null: no curve has two points. */
export function lossPicture(curves: readonly LossCurve[], width: number, height: number): SvgNode | null {
  const drawn = curves
    .map((curve, index) => ({ ...curve, index }))
    .filter(({ losses }) => losses.filter(Number.isFinite).length > 1);
  if (drawn.length === 0) return null;
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const pixels = Math.floor(area.right - area.left);
  const thinned = drawn.map((curve) => ({ ...curve, points: thinnedPoints(curve, pixels / 2) }));
  const all = thinned.flatMap(({ points }) => points);
  const x = scaleOf(
    all.map(({ step }) => step),
    false,
    area.left,
    area.right,
    8,
  );
  const y = scaleOf(
    all.map(({ loss }) => loss),
    false,
    area.bottom,
    area.top,
    8,
  );
  const columns = Math.max(1, Math.floor(width / LEGEND_COLUMN));
  const legendTop = height + 4;
  const legend = drawn.map(({ label, index }, at) => {
    const left = MARGIN.left + (at % columns) * LEGEND_COLUMN;
    const top = legendTop + Math.floor(at / columns) * LEGEND_LINE;
    return node(
      'g',
      {},
      node('path', { class: curveClass(index), d: `M${round(left)} ${round(top)}H${round(left + 26)}` }),
      node(
        'text',
        { x: left + 32, y: top + 4 },
        label.length > 34 ? `${label.slice(0, 24)}…${label.slice(-9)}` : label,
      ),
    );
  });
  const total = legendTop + Math.ceil(drawn.length / columns) * LEGEND_LINE;
  const marksX = x.marks.flatMap((value) => [
    node('line', { class: 'grid', x1: x.at(value), x2: x.at(value), y1: area.top, y2: area.bottom }),
    node('text', { x: x.at(value), y: area.bottom + 15, 'text-anchor': 'middle' }, String(value)),
  ]);
  const marksY = y.marks.flatMap((value) => [
    node('line', { class: 'grid', x1: area.left, x2: area.right, y1: y.at(value), y2: y.at(value) }),
    node('text', { x: area.left - 6, y: y.at(value) + 4, 'text-anchor': 'end' }, String(value)),
  ]);
  const title = (area.left + area.right) / 2;
  return node(
    'svg',
    {
      class: 'losses',
      viewBox: `0 0 ${round(width)} ${round(total)}`,
      role: 'img',
      'aria-label': 'Training loss by step',
    },
    node('g', { class: 'axis' }, ...marksX, ...marksY),
    node('text', { class: 'axis-title', x: title, y: area.bottom + 32, 'text-anchor': 'middle' }, 'step'),
    ...thinned.map(({ points, index }) =>
      node('path', { class: curveClass(index), d: pathOf(points.map(({ step, loss }) => [x.at(step), y.at(loss)])) }),
    ),
    ...legend,
  );
}

const curveClass = (index: number): string =>
  `curve c${String(index % CURVE_COLOURS)} d${String(index % CURVE_DASHES)}`;

function pathOf(points: readonly (readonly [number, number])[]): string {
  return points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${round(x)} ${round(y)}`).join('');
}

interface Point {
  readonly step: number;
  readonly loss: number;
}

/** Of the points that share a pixel the least and the greatest, in their order: spikes stay. Losses that are not finite are left
 *  out. */
export function thinnedPoints({ steps, losses }: Pick<LossCurve, 'steps' | 'losses'>, pixels: number): Point[] {
  const points = losses.flatMap((loss, index): Point[] => {
    const step = steps[index];
    return step === undefined || !Number.isFinite(loss) ? [] : [{ step, loss }];
  });
  const size = Math.ceil(points.length / Math.max(1, Math.floor(pixels)));
  if (size <= 2) return points;
  const kept: Point[] = [];
  for (let from = 0; from < points.length; from += size) {
    const piece = points.slice(from, from + size);
    let [least, greatest] = [0, 0];
    piece.forEach(({ loss }, index) => {
      if (loss < (piece[least]?.loss ?? Infinity)) least = index;
      if (loss > (piece[greatest]?.loss ?? -Infinity)) greatest = index;
    });
    for (const index of [...new Set([Math.min(least, greatest), Math.max(least, greatest)])]) {
      const point = piece[index];
      if (point !== undefined) kept.push(point);
    }
  }
  return kept;
}
