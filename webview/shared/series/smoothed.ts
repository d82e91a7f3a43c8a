// The moving average of a column, kept up while the column grows, and computed anew when its weight changes.
//
// A slider that is dragged over 10⁶ rows asks for a new average at every pixel, and one average takes longer than a frame has. So
// it is computed from the first row to the last in slices, beside the one that is shown, and takes that one's place once it is
// complete; then the newest weight that was asked for is next, whatever was asked for between. What is drawn is therefore always
// the plain average of one weight, to the bit, at most a few frames late.
import { Pyramid } from './pyramid';
import type { Progress, Sliced } from './slices';
import type { Source } from './source';

/** Rows between two looks at the clock. */
const STRIDE = 8_192;
/** 1 − wⁿ is 1 once wⁿ is below. */
const NOTHING = 2 ** -54;

/** Exponential moving average m ← w·m + (1 − w)·y, divided by 1 − wⁿ (n values so far) so that the first values are not drawn
 *  towards zero. Where nothing was measured (NaN) there is no average either, and the one before goes on behind the gap. */
export class Average implements Source {
  readonly pyramid = new Pyramid(this);
  private result = new Float64Array(0);
  private rows = 0;
  /** wⁿ after each of the first rows, as long as it matters. */
  private lackingAt: number[] = [];
  // After the last row that is computed: m before the division, and wⁿ.
  private sum = 0;
  private lacking = 1;

  /** @param weight of the past, 0 to below 1. */
  constructor(private weight: number) {}

  get weightOfPast(): number {
    return this.weight;
  }

  /** Rows computed. */
  get length(): number {
    return this.rows;
  }

  /** As many as are computed. */
  values(): Float64Array {
    return this.result.subarray(0, this.rows);
  }

  restart(weight: number): void {
    this.weight = weight;
    this.cut(0);
  }

  cut(length: number): void {
    if (length >= this.rows) return;
    this.rows = length;
    this.pyramid.cut(length);
    this.lacking = length === 0 ? 1 : (this.lackingAt[length - 1] ?? 0);
    this.lackingAt.length = Math.min(this.lackingAt.length, length);
    let last = length - 1;
    while (last >= 0 && Number.isNaN(this.result[last] ?? NaN)) last--;
    this.sum = last < 0 ? 0 : (this.result[last] ?? NaN) * (1 - this.lacking);
  }

  /** Computes the rows up to before `to`. */
  extend(values: Float64Array, to: number): void {
    if (this.result.length < to) {
      const larger = new Float64Array(Math.max(values.length, this.result.length * 2, 256));
      larger.set(this.values());
      this.result = larger;
    }
    const { weight, result, lackingAt } = this;
    const fresh = 1 - weight;
    let { sum, lacking } = this;
    let row = this.rows;
    for (; row < to && lacking >= NOTHING; row++) {
      const value = values[row] ?? NaN;
      result[row] = NaN;
      if (!Number.isNaN(value)) {
        sum = weight * sum + fresh * value;
        lacking *= weight;
        result[row] = sum / (1 - lacking);
      }
      lackingAt[row] = lacking;
    }
    // The same without what no longer changes a bit: nearly all rows of a long run.
    for (; row < to; row++) {
      const value = values[row] ?? NaN;
      const next = weight * sum + fresh * value;
      result[row] = next;
      if (!Number.isNaN(next)) sum = next;
    }
    this.sum = sum;
    this.lacking = lacking;
    this.rows = Math.max(this.rows, to);
    this.pyramid.update();
  }
}

/** The average of a whole column at once. */
export function averageOf(values: Float64Array, weight: number): Float64Array {
  const average = new Average(weight);
  average.extend(values, values.length);
  return average.values();
}

export class Smoothed implements Source, Sliced {
  private shown: Average;
  /** Under way, to take the place of `shown`. */
  private next: Average | null = null;
  /** Its memory is taken for the next one. */
  private spare: Average | null = null;

  /** @param weight of the past, 0 to below 1
   *  @param onReplaced all values have changed at once */
  constructor(
    private readonly source: Source,
    private wanted: number,
    private readonly onReplaced: () => void = () => undefined,
  ) {
    this.shown = new Average(wanted);
  }

  /** What is computed of the source's rows with the weight that is shown. */
  values(): Float64Array {
    return this.shown.values();
  }

  get pyramid(): Pyramid {
    return this.shown.pyramid;
  }

  /** The weight of what `values` gives. */
  get weight(): number {
    return this.shown.weightOfPast;
  }

  /** `advance` brings it about. */
  want(weight: number): void {
    this.wanted = weight;
  }

  cut(length: number): void {
    this.shown.cut(length);
    this.next?.cut(length);
  }

  advance(hasTime: () => boolean): Progress {
    const values = this.source.values();
    let changed = false;
    if (this.shown.length === 0) this.shown.restart(this.wanted);
    // New rows first, and some of them whatever the time: the average would else lag behind the points that come in.
    for (let must = true; this.shown.length < values.length; must = false) {
      if (!must && !hasTime()) return { done: false, changed };
      this.shown.extend(values, Math.min(values.length, this.shown.length + STRIDE));
      changed = true;
    }
    while (this.shown.weightOfPast !== this.wanted) {
      const next = this.begun();
      while (next.length < values.length) {
        if (!hasTime()) return { done: false, changed };
        next.extend(values, Math.min(values.length, next.length + STRIDE));
      }
      this.spare = this.shown;
      this.shown = next;
      this.next = null;
      this.onReplaced();
      changed = true;
    }
    return { done: true, changed };
  }

  /** The average that is under way, or a new one with the weight that is wanted now. */
  private begun(): Average {
    if (this.next === null) {
      this.next = this.spare ?? new Average(this.wanted);
      this.spare = null;
      this.next.restart(this.wanted);
    }
    return this.next;
  }
}
