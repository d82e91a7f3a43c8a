// What quantization does to a sample of weights: the range search of docs/method.md in plain numbers, and the histogram of the
// weights with the error that rounding leaves. For pictures; the engine has its own kernels.

import type { LinearQuantization } from '../../native/binding/addon';

export interface WeightSample {
  readonly rows: number;
  readonly columns: number;
  /** rows × columns, row-major. */
  readonly values: Float32Array;
}

export interface WeightGrid {
  /** Ends of the histogram, in units of the grid's reach s·2^(bits−1): levels lie at k/2^(bits−1) from −1 on. Where rows have
   *  zero points of their own, weights and levels are shown from the middle of their grid: (w/s + z)/2^(bits−1) − 1. */
  readonly low: number;
  readonly high: number;
  /** Weights in each bin; what lies outside is counted in the first and last. */
  readonly counts: Float64Array;
  /** Mean |w − ŵ| of the bin's weights, in the same units. */
  readonly error: Float64Array;
  /** 2^bits levels, ascending, in the same units. */
  readonly levels: readonly number[];
  /** Weights that lie more than half a step outside of the grid. */
  readonly clippedShare: number;
  /** Weights whose integer is 0. */
  readonly zeroShare: number;
  /** Root mean square of w − ŵ over that of w. */
  readonly relativeError: number;
}

/** Thresholds that the search tries. */
const CANDIDATES = 100;
const SCALE_FLOOR = 1e-8;
/** Adding and subtracting it rounds a float64 to an integer, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

/** Starting scale of weights that share one: t/q⁺ for the threshold t with the least Σ|w − ŵ|^p, the first on ties. */
export function searchScale(values: Float32Array, bits: number, range: LinearQuantization['range']): number {
  const highest = 2 ** (bits - 1) - 1;
  let reach = 0;
  for (const value of values) reach = Math.max(reach, Math.abs(value));
  const whole = Math.max(reach, SCALE_FLOOR) / highest;
  if (range === 'minmax' || reach === 0) return whole;
  const power = range === 'mse' ? 2 : Number(range.slice('lp-'.length));
  const step = Math.fround(reach / CANDIDATES);
  let best = { scale: whole, loss: Number.POSITIVE_INFINITY };
  for (let candidate = 1; candidate <= CANDIDATES; candidate++) {
    const scale = Math.max(Math.fround(step * candidate) / highest, SCALE_FLOOR);
    let loss = 0;
    for (const value of values) {
      const error = Math.abs(value - scale * integerOf(value / scale, -highest - 1, highest));
      loss += power === 2 ? error * error : power === 4 ? (error * error) ** 2 : error ** power;
      // A sum that only grows cannot win any more.
      if (loss >= best.loss) break;
    }
    if (loss < best.loss) best = { scale, loss };
  }
  return best.scale;
}

export interface Grid {
  readonly scale: number;
  /** Integers that w/s is rounded to: 2^bits of them from here on. */
  readonly lowest: number;
}

/** Starting scale and zero point of weights that share one: the scales of {@link searchScale}, each with the zero point that
 *  loses least. For one scale the loss is convex in the zero point, so its neighbours tell. */
export function searchGrid(values: Float32Array, bits: number, range: LinearQuantization['range']): Grid {
  const levels = 2 ** bits - 1;
  let [low, high] = [0, 0];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (range === 'minmax' || low === high) {
    const scale = Math.max((Math.max(high, SCALE_FLOOR) - low) / levels, SCALE_FLOOR);
    return { scale, lowest: -limited(roundEven(-low / scale), levels) };
  }
  const power = range === 'mse' ? 2 : Number(range.slice('lp-'.length));
  const lossAt = (scale: number, zero: number, limit: number): number => {
    let loss = 0;
    for (const value of values) {
      const error = Math.abs(value - scale * integerOf(value / scale, -zero, levels - zero));
      loss += power === 2 ? error * error : power === 4 ? (error * error) ** 2 : error ** power;
      if (loss >= limit) break;
    }
    return loss;
  };
  const step = Math.fround(Math.max(high, -low) / CANDIDATES);
  let middle = (low + high) / 2;
  let best = { scale: 1, zero: 0, loss: Number.POSITIVE_INFINITY };
  for (let candidate = CANDIDATES; candidate >= 1; candidate--) {
    const scale = Math.max(Math.fround(step * candidate) / (2 ** (bits - 1) - 1), SCALE_FLOOR);
    let zero = limited(roundEven(levels / 2 - middle / scale), levels);
    let loss = lossAt(scale, zero, Number.POSITIVE_INFINITY);
    for (const direction of [1, -1]) {
      const from = zero;
      while (zero + direction >= 0 && zero + direction <= levels) {
        const next = lossAt(scale, zero + direction, loss);
        if (next >= loss) break;
        [loss, zero] = [next, zero + direction];
      }
      if (zero !== from) break;
    }
    middle = (levels / 2 - zero) * scale;
    if (loss <= best.loss) best = { scale, zero, loss };
  }
  return { scale: best.scale, lowest: -best.zero };
}

/** Histogram and error of a sample under a linear's settings. Rows are whole rows of the weight; a scale per tensor is searched
 *  on the sample alone. */
export function weightGrid(
  { rows, columns, values }: WeightSample,
  { bits, groupSize, range, symmetric = true }: Pick<LinearQuantization, 'bits' | 'groupSize' | 'range' | 'symmetric'>,
  bins = 120,
): WeightGrid {
  const highest = 2 ** (bits - 1) - 1;
  const levels = Array.from({ length: 2 ** bits }, (_, index) => (index - highest - 1) / (highest + 1));
  const [low, high] = [-1.25, 1.25];
  const counts = new Float64Array(bins);
  const error = new Float64Array(bins);
  let [clipped, zeros, noise, signal] = [0, 0, 0, 0];
  for (const part of sharing(rows, columns, values, groupSize)) {
    const { scale, lowest } = symmetric
      ? { scale: searchScale(part, bits, range), lowest: -highest - 1 }
      : searchGrid(part, bits, range);
    const unit = scale * (highest + 1);
    const middle = scale * (lowest + highest + 1);
    for (const value of part) {
      const ratio = value / scale;
      const integer = integerOf(ratio, lowest, lowest + 2 * highest + 1);
      const wrong = value - scale * integer;
      if (Math.abs(ratio - integer) > 0.5) clipped++;
      if (integer === 0) zeros++;
      noise += wrong * wrong;
      signal += value * value;
      const place = Math.floor((((value - middle) / unit - low) / (high - low)) * bins);
      const bin = Math.min(bins - 1, Math.max(0, place));
      counts[bin] = (counts[bin] ?? 0) + 1;
      error[bin] = (error[bin] ?? 0) + Math.abs(wrong) / unit;
    }
  }
  for (let bin = 0; bin < bins; bin++) error[bin] = (error[bin] ?? 0) / Math.max(1, counts[bin] ?? 0);
  const total = Math.max(1, values.length);
  return {
    low,
    high,
    counts,
    error,
    levels,
    clippedShare: clipped / total,
    zeroShare: zeros / total,
    relativeError: signal === 0 ? 0 : Math.sqrt(noise / signal),
  };
}

/** Weights that share a scale; `groupSize` as LinearQuantization counts: 0 all, −1 a row, else so many columns of a row. */
function* sharing(rows: number, columns: number, values: Float32Array, groupSize: number): Generator<Float32Array> {
  if (groupSize === 0) {
    yield values;
    return;
  }
  const size = groupSize < 0 ? columns : groupSize;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += size) {
      const begin = row * columns + column;
      yield values.subarray(begin, Math.min(begin + size, (row + 1) * columns));
    }
  }
}

function integerOf(ratio: number, lowest: number, highest: number): number {
  const rounded = roundEven(ratio);
  return rounded > highest ? highest : rounded < lowest ? lowest : rounded;
}

function roundEven(value: number): number {
  return value + ROUNDER - ROUNDER;
}

function limited(zero: number, levels: number): number {
  return Math.min(Math.max(zero, 0), levels);
}
