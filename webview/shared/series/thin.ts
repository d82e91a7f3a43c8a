// Fewer points for the same picture: of the points that fall on one pixel only the least and the greatest are kept, in their
// order. A spike of a single step stays visible however many steps a pixel covers; zooming in thins anew and shows more.
import { lowerBound } from './columns';
import type { Extremes, Pyramid } from './pyramid';

/** Points to draw, as two columns of which `length` rows count. A NaN in `y` is a gap in the line. */
export interface Thinned {
  readonly x: Float64Array;
  readonly y: Float64Array;
  readonly length: number;
}

/** At most two points a pixel within the borders, and the nearest point on each side of them, so that lines leave the picture
 *  where they should.
 *  @param x never decreases.
 *  @param borders of the pixels, in units of x, ascending (pixelBorders). */
export function thin(x: Float64Array, y: Float64Array, pyramid: Pyramid, borders: Float64Array): Thinned {
  const pixels = borders.length - 1;
  const left = borders[0] ?? NaN;
  const right = borders[pixels] ?? NaN;
  const first = lowerBound(x, left);
  const end = after(x, right);
  const from = Math.max(0, first - 1);
  const to = Math.min(x.length, end + 1);
  if (end - first <= 2 * pixels) {
    return { x: x.slice(from, to), y: y.slice(from, to), length: Math.max(0, to - from) };
  }

  const thinX = new Float64Array(2 * pixels + 2);
  const thinY = new Float64Array(2 * pixels + 2);
  let length = 0;
  const keep = (at: number) => {
    thinX[length] = x[at] ?? NaN;
    thinY[length] = y[at] ?? NaN;
    length++;
  };
  const found: Extremes = { least: -1, greatest: -1 };
  if (first > 0) keep(first - 1);
  let start = first;
  for (let pixel = 0; pixel < pixels && start < end; pixel++) {
    const stop = pixel === pixels - 1 ? end : Math.min(end, lowerBound(x, borders[pixel + 1] ?? right));
    if (stop <= start) continue;
    pyramid.extremes(start, stop, found);
    // Nothing but gaps on this pixel: one of them stands for all.
    if (found.least < 0) keep(start);
    else {
      keep(Math.min(found.least, found.greatest));
      if (found.least !== found.greatest) keep(Math.max(found.least, found.greatest));
    }
    start = stop;
  }
  if (end < x.length) keep(end);
  return { x: thinX, y: thinY, length };
}

/** Index behind the last element that is not above `value`. */
export function after(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? NaN) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the element nearest to `value`; −1 where there is none. */
export function nearest(sorted: Float64Array, value: number): number {
  if (sorted.length === 0) return -1;
  const at = lowerBound(sorted, value);
  if (at === 0) return 0;
  if (at === sorted.length) return at - 1;
  return value - (sorted[at - 1] ?? NaN) <= (sorted[at] ?? NaN) - value ? at - 1 : at;
}
