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

/** Which rows lie on which pixel: the same for all columns of a run, so that it is looked up once for all of them. */
export interface PixelRows {
  /** Rows within the borders: from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
  /** For each pixel the row behind its last. Empty where there is room for every row. */
  readonly stops: Uint32Array;
}

/** Rows a pixel from which on its ends may be moved: by a sixteenth of a pixel at most. */
const COARSE = 16 * 16;

/** @param x never decreases.
 *  @param borders of the pixels, in units of x, ascending (pixelBorders). */
export function pixelRows(x: Float64Array, borders: Float64Array): PixelRows {
  const pixels = borders.length - 1;
  const right = borders[pixels] ?? NaN;
  const first = lowerBound(x, borders[0] ?? NaN);
  const end = after(x, right);
  if (end - first <= 2 * pixels) return { first, end, stops: new Uint32Array(0) };
  const stops = new Uint32Array(pixels);
  let start = first;
  for (let pixel = 0; pixel < pixels; pixel++) {
    let stop = end;
    if (pixel < pixels - 1) {
      stop = lowerBound(x, borders[pixel + 1] ?? right, start, end);
      // To where the pyramid has a bucket's end, so that few values must be looked at one by one.
      if (stop - start >= COARSE && stop < end) stop -= stop % 16;
    }
    stops[pixel] = stop;
    start = stop;
  }
  return { first, end, stops };
}

/** At most two points a pixel within the borders, and the nearest point on each side of them, so that lines leave the picture
 *  where they should.
 *  @param x, borders as for `pixelRows`. */
export function thin(x: Float64Array, y: Float64Array, pyramid: Pyramid, borders: Float64Array): Thinned {
  return thinRows(x, y, pyramid, pixelRows(x, borders));
}

/** The same for rows that have been looked up. */
export function thinRows(
  x: Float64Array,
  y: Float64Array,
  pyramid: Pyramid,
  { first, end, stops }: PixelRows,
): Thinned {
  const pixels = stops.length;
  const from = Math.max(0, first - 1);
  const to = Math.min(x.length, end + 1);
  if (pixels === 0) return { x: x.slice(from, to), y: y.slice(from, to), length: Math.max(0, to - from) };

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
  for (const stop of stops) {
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
