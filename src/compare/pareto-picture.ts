// The picture of perplexity against cost, for pages and reports alike. Colours come from style sheets, by class.
import type { Cost, Pareto, ParetoPoint } from './pareto';
import { isWide, scaleOf, type Scale } from './scale';
import { showNumber } from './show';
import { node, round, type SvgNode } from './svg';

export interface PictureOptions {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Both axes logarithmic; null: where the values are spread far. */
  readonly log: boolean | null;
}

export interface PlacedPoint {
  readonly point: ParetoPoint;
  readonly x: number;
  readonly y: number;
}

export interface ParetoPicture {
  readonly svg: SvgNode;
  /** From left to right. */
  readonly points: readonly PlacedPoint[];
}

const MARGIN = { left: 58, right: 16, top: 12, bottom: 40 };
/** Width of a letter and height of a line at the labels' size. */
const LETTER = 6;
const LINE = 13;
const LONGEST = 30;

/** null: there is nothing to draw. */
export function paretoPicture(pareto: Pareto, { width, height, log }: PictureOptions): ParetoPicture | null {
  const { points, references, cost } = pareto;
  if (points.length === 0) return null;
  const costs = points.map((point) => point.cost);
  const perplexities = [...points, ...references].map((each) => each.perplexity);
  const area = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  // Bytes are counted in KiB, MiB, GiB: whichever the largest of them has.
  const unit =
    cost.unit === 'bytes' ? 1024 ** Math.max(0, Math.floor(Math.log(Math.max(...costs)) / Math.log(1024))) : 1;
  const marks = Math.max(2, (area.right - area.left) / 80);
  const x = scaleOf(costs, log ?? isWide(costs), area.left, area.right, marks, unit);
  const y = scaleOf(perplexities, log ?? isWide(perplexities), area.bottom, area.top, (area.bottom - area.top) / 36);
  const placed = points
    .map((point) => ({ point, x: x.at(point.cost), y: y.at(point.perplexity) }))
    .sort((a, b) => a.x - b.x || a.y - b.y);
  const covered: Area[] = [];
  const lines = references.map(({ kind, label, perplexity }) => {
    const at = y.at(perplexity);
    covered.push({ left: area.right - 4 - label.length * LETTER, right: area.right, top: at - LINE, bottom: at + 1 });
    return node(
      'g',
      { class: `reference ${kind}` },
      node('line', { x1: area.left, x2: area.right, y1: at, y2: at }),
      node('text', { x: area.right - 4, y: at - 4, 'text-anchor': 'end' }, label),
    );
  });
  const svg = node(
    'svg',
    { class: 'pareto', viewBox: `0 0 ${round(width)} ${round(height)}`, width, height },
    axisX(x, area, cost),
    axisY(y, area),
    ...lines,
    frontLine(placed),
    node('g', { class: 'points' }, ...placed.map(marker)),
    node('g', { class: 'labels' }, ...labels(placed, area, covered)),
  );
  return { svg, points: placed };
}

/** Widths that weights have, for an axis from 2 bits to the 16 of float. */
const BIT_MARKS = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 12, 16, 24, 32];

interface Area {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

function axisX(scale: Scale, { left, right, top, bottom }: Area, cost: Cost): SvgNode {
  const values =
    cost.unit === 'bits' && scale.log
      ? BIT_MARKS.filter((bits) => bits >= scale.min && bits <= scale.max)
      : scale.marks;
  const marks = values.flatMap((value) => {
    const x = scale.at(value);
    const label = cost.unit === 'bits' ? plainNumber(value) : showNumber(value, cost.unit);
    return [
      node('line', { class: 'grid', x1: x, x2: x, y1: top, y2: bottom }),
      node('text', { x, y: bottom + 15, 'text-anchor': 'middle' }, label),
    ];
  });
  const title = node(
    'text',
    { class: 'axis-title', x: (left + right) / 2, y: bottom + 32, 'text-anchor': 'middle' },
    cost.label,
  );
  return node('g', { class: 'axis' }, ...marks, node('line', { x1: left, x2: right, y1: bottom, y2: bottom }), title);
}

function axisY(scale: Scale, { left, right, top, bottom }: Area): SvgNode {
  const marks = scale.marks.flatMap((value) => {
    const y = scale.at(value);
    return [
      node('line', { class: 'grid', x1: left, x2: right, y1: y, y2: y }),
      node('text', { x: left - 6, y: y + 4, 'text-anchor': 'end' }, plainNumber(value)),
    ];
  });
  const middle = (top + bottom) / 2;
  const title = node(
    'text',
    { class: 'axis-title', x: 14, y: middle, transform: `rotate(-90 14 ${round(middle)})`, 'text-anchor': 'middle' },
    'perplexity',
  );
  return node('g', { class: 'axis' }, ...marks, node('line', { x1: left, x2: left, y1: top, y2: bottom }), title);
}

const plainNumber = (value: number): string =>
  Math.abs(value) >= 1e6 ? value.toExponential(0) : String(Number(value.toPrecision(6)));

/** Steps: at a cost between two points one has the cheaper of them. */
function frontLine(placed: readonly PlacedPoint[]): SvgNode | null {
  const front = placed.filter(({ point }) => point.onFront);
  const [first, ...rest] = front;
  if (first === undefined) return null;
  const path = rest.map(({ x, y }) => `H${round(x)}V${round(y)}`).join('');
  return node('path', { class: 'front', d: `M${round(first.x)} ${round(first.y)}${path}`, fill: 'none' });
}

/** A circle for runs, a square for float, a triangle for rounding; filled on the front, hollow off it. */
function marker({ point, x, y }: PlacedPoint, index: number): SvgNode {
  const attributes = {
    class: `point ${point.kind}${point.onFront ? ' on-front' : ''}`,
    'data-index': index,
    'data-kind': point.kind,
  };
  const size = 5;
  if (point.kind === 'run') return node('circle', { ...attributes, cx: x, cy: y, r: size });
  if (point.kind === 'float') {
    return node('rect', { ...attributes, x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  }
  const triangle = `${round(x - 6)},${round(y + 5)} ${round(x + 6)},${round(y + 5)} ${round(x)},${round(y - 6)}`;
  return node('polygon', { ...attributes, points: triangle });
}

/** Names beside points where they cover nothing; those on the front first. The rest is named when it is pointed at. */
function labels(placed: readonly PlacedPoint[], area: Area, covered: readonly Area[]): SvgNode[] {
  const front = placed.filter(({ point }) => point.onFront);
  const taken: Area[] = [
    ...covered,
    ...placed.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 })),
    ...front.slice(1).flatMap((to, index) => segments(front[index] ?? to, to)),
  ];
  const rank = ({ point }: PlacedPoint): number => (point.onFront ? 0 : point.kind === 'run' ? 2 : 1);
  return [...placed]
    .sort((a, b) => rank(a) - rank(b))
    .flatMap(({ point, x, y }) => {
      const text = short(point.label);
      const width = text.length * LETTER;
      const places = [
        { x: x + 9, y: y - 7, anchor: 'start' },
        { x: x + 9, y: y + 4, anchor: 'start' },
        { x: x - 9, y: y + 4, anchor: 'end' },
        { x, y: y - 10, anchor: 'middle' },
        { x, y: y + 19, anchor: 'middle' },
        { x: x - 9, y: y - 7, anchor: 'end' },
        { x: x - 9, y: y + 15, anchor: 'end' },
        { x: x + 9, y: y + 15, anchor: 'start' },
      ];
      for (const place of places) {
        const left =
          place.anchor === 'start' ? place.x : place.anchor === 'end' ? place.x - width : place.x - width / 2;
        const box = { left, right: left + width, top: place.y - LINE + 3, bottom: place.y + 3 };
        const isInside =
          box.left >= area.left && box.right <= area.right + 12 && box.top >= 0 && box.bottom <= area.bottom;
        if (!isInside || taken.some((other) => overlaps(box, other))) continue;
        taken.push(box);
        return [
          node('text', { class: `label ${point.kind}`, x: place.x, y: place.y, 'text-anchor': place.anchor }, text),
        ];
      }
      return [];
    });
}

/** The step from one point of the front to the next. */
function segments(from: PlacedPoint, to: PlacedPoint): Area[] {
  return [
    { left: from.x, right: to.x, top: from.y - 1, bottom: from.y + 1 },
    { left: to.x - 1, right: to.x + 1, top: Math.min(from.y, to.y), bottom: Math.max(from.y, to.y) },
  ];
}

const overlaps = (a: Area, b: Area): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** The date at the head of a folder's name says least; the end of a long name more than its middle. */
function short(label: string): string {
  const name = label.replace(/^\d{8}-\d{6}-(?=.)/, '');
  return name.length <= LONGEST ? name : `${name.slice(0, LONGEST - 9)}…${name.slice(-8)}`;
}
