// Fewer points for the same picture: of the points that fall on one pixel only the least and the greatest are kept, in their
// order. A spike of a single step stays visible however many steps a pixel covers; zooming in thins anew and shows more.
import { lowerBound } from './columns';
import { bucketWithin, type Extremes, type Pyramid } from './pyramid';

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

/** The ends of a pixel's rows may be moved by this share of them. */
const COARSE = 1 / 16;
/** Rows a pixel from which on a point's x is told from its row, between those of the pixel's first and last: reading it misses the
 *  cache each time, and nobody sees the difference. */
const MANY = 64;

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
      if (stop < end) stop -= stop % bucketWithin((stop - start) * COARSE);
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
  const found: Extremes = { least: -1, greatest: -1 };
  if (first > 0) {
    thinX[length] = x[first - 1] ?? NaN;
    thinY[length++] = y[first - 1] ?? NaN;
  }
  let start = first;
  for (let pixel = 0; pixel < pixels; pixel++) {
    const stop = stops[pixel] ?? end;
    if (stop <= start) continue;
    pyramid.extremes(start, stop, found);
    const rows = stop - start;
    const left = x[start] ?? NaN;
    const along = rows < MANY ? 0 : ((x[stop - 1] ?? NaN) - left) / (rows - 1);
    if (found.least < 0) {
      // Nothing but gaps on this pixel: one of them stands for all.
      thinX[length] = x[start] ?? NaN;
      thinY[length++] = NaN;
    } else {
      const rising = found.least <= found.greatest;
      const one = rising ? found.least : found.greatest;
      const other = rising ? found.greatest : found.least;
      thinX[length] = along === 0 ? (x[one] ?? NaN) : left + (one - start) * along;
      thinY[length++] = rising ? pyramid.lowest : pyramid.highest;
      if (one !== other) {
        thinX[length] = along === 0 ? (x[other] ?? NaN) : left + (other - start) * along;
        thinY[length++] = rising ? pyramid.highest : pyramid.lowest;
      }
    }
    start = stop;
  }
  if (end < x.length) {
    thinX[length] = x[end] ?? NaN;
    thinY[length++] = y[end] ?? NaN;
  }
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
