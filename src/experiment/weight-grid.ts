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
  /** Ends of the histogram, in units of the grid's reach s·2^(bits−1): levels lie at k/2^(bits−1) from −1 on. */
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
      const error = Math.abs(value - scale * integerOf(value / scale, highest));
      loss += power === 2 ? error * error : power === 4 ? (error * error) ** 2 : error ** power;
      // A sum that only grows cannot win any more.
      if (loss >= best.loss) break;
    }
    if (loss < best.loss) best = { scale, loss };
  }
  return best.scale;
}

/** Histogram and error of a sample under a linear's settings. Rows are whole rows of the weight; a scale per tensor is searched
 *  on the sample alone. */
export function weightGrid(
  { rows, columns, values }: WeightSample,
  { bits, groupSize, range }: Pick<LinearQuantization, 'bits' | 'groupSize' | 'range'>,
  bins = 120,
): WeightGrid {
  const highest = 2 ** (bits - 1) - 1;
  const levels = Array.from({ length: 2 ** bits }, (_, index) => (index - highest - 1) / (highest + 1));
  const [low, high] = [-1.25, 1.25];
  const counts = new Float64Array(bins);
  const error = new Float64Array(bins);
  let [clipped, zeros, noise, signal] = [0, 0, 0, 0];
  for (const part of sharing(rows, columns, values, groupSize)) {
    const scale = searchScale(part, bits, range);
    const unit = scale * (highest + 1);
    for (const value of part) {
      const ratio = value / scale;
      const integer = integerOf(ratio, highest);
      const wrong = value - scale * integer;
      if (Math.abs(ratio - integer) > 0.5) clipped++;
      if (integer === 0) zeros++;
      noise += wrong * wrong;
      signal += value * value;
      const place = Math.floor(((value / unit - low) / (high - low)) * bins);
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

function integerOf(ratio: number, highest: number): number {
  const rounded = ratio + ROUNDER - ROUNDER;
  return rounded > highest ? highest : rounded < -highest - 1 ? -highest - 1 : rounded;
}
