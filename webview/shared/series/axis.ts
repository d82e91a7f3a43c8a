// Axes as arithmetic: values ↔ fractions of the axis' length, pixel borders, domains.

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** `log`: a true logarithmic axis; both ends are above zero. */
export interface Axis extends Range {
  readonly kind: 'linear' | 'log';
}

/** 0 at `min`, 1 at `max`. NaN for what the axis cannot show. */
export function fractionOf(axis: Axis, value: number): number {
  if (axis.kind === 'linear') return (value - axis.min) / (axis.max - axis.min);
  return value > 0 ? Math.log(value / axis.min) / Math.log(axis.max / axis.min) : NaN;
}

export function valueAt(axis: Axis, fraction: number): number {
  if (axis.kind === 'linear') return axis.min + fraction * (axis.max - axis.min);
  return axis.min * (axis.max / axis.min) ** fraction;
}

/** Values at the borders of `pixels` equal parts of the axis, ascending: pixels + 1 numbers. */
export function pixelBorders(axis: Axis, pixels: number): Float64Array {
  const borders = new Float64Array(pixels + 1);
  for (let pixel = 0; pixel <= pixels; pixel++) borders[pixel] = valueAt(axis, pixel / pixels);
  borders[pixels] = axis.max;
  return borders;
}

/** An axis that shows all of `range` with some air (share of the length) at both ends. A range without extent or without
 *  numbers gets one, so that a constant (memory) is a line in the middle and an empty chart has an axis. */
export function roomyAxis(kind: Axis['kind'], range: Range | null, air = 0.05): Axis {
  if (kind === 'log') {
    if (range === null || !(range.max > 0)) return { kind, min: 0.1, max: 1 };
    const min = range.min > 0 ? range.min : range.max / 1000;
    const factor = min === range.max ? 1.1 : (range.max / min) ** air;
    return { kind, min: min / factor, max: range.max * factor };
  }
  if (range === null) return { kind, min: 0, max: 1 };
  const extent = range.max - range.min;
  // Less than this cannot be told apart on a screen and would only magnify rounding.
  const least = Math.max(Math.abs(range.min), Math.abs(range.max)) * 1e-9;
  if (extent <= least) {
    const half = range.max === 0 ? 0.5 : Math.abs(range.max) * 0.1;
    return { kind, min: range.min - half, max: range.max + half };
  }
  return { kind, min: range.min - extent * air, max: range.max + extent * air };
}

/** `axis` cut and moved so that it lies within `limits`, as much of its length kept as fits. */
export function within(axis: Axis, limits: Axis): Axis {
  const from = fractionOf(limits, axis.min);
  const to = fractionOf(limits, axis.max);
  if (!(to > from) || to - from >= 1) return { ...axis, min: limits.min, max: limits.max };
  const shift = from < 0 ? -from : to > 1 ? 1 - to : 0;
  if (shift === 0) return axis;
  return { ...axis, min: valueAt(limits, from + shift), max: valueAt(limits, to + shift) };
}

/** `axis` narrowed (factor above 1) or widened around the value at `focus` (a fraction). */
export function zoomed(axis: Axis, factor: number, focus = 0.5): Axis {
  const length = 1 / factor;
  const from = focus - focus * length;
  return { ...axis, min: valueAt(axis, from), max: valueAt(axis, from + length) };
}

/** `axis` moved by a share of its length. */
export function shifted(axis: Axis, share: number): Axis {
  return { ...axis, min: valueAt(axis, share), max: valueAt(axis, 1 + share) };
}

export function union(ranges: Iterable<Range | null>): Range | null {
  let min = Infinity;
  let max = -Infinity;
  for (const range of ranges) {
    if (range === null) continue;
    min = Math.min(min, range.min);
    max = Math.max(max, range.max);
  }
  return min <= max ? { min, max } : null;
}
