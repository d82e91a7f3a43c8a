// Where the smallest and the largest value of any stretch of a long column lie, without looking at every value: extremes of
// buckets of 16 values, of 4 buckets, of 4 of these, and so on. The values stand beside their places, because looking them up in
// the column would miss the cache each time. Costs a quarter of the column's memory and makes thinning 10⁶ points as cheap as
// thinning a few thousand.
import type { Source } from './source';

/** Values of the smallest bucket, and buckets of the next larger one. */
const SMALLEST = 16;
const FACTOR = 4;

interface Level {
  /** Values a bucket. */
  readonly size: number;
  /** Each bucket's least and greatest value; ∞ and −∞ where it holds NaN only. */
  low: Float64Array;
  high: Float64Array;
  /** Where they lie: indices into the column. */
  least: Uint32Array;
  greatest: Uint32Array;
}

export interface Extremes {
  /** Indices into the column, or −1 where there is no number. */
  least: number;
  greatest: number;
}

/** The largest bucket of at most `rows` values; 1: none. */
export function bucketWithin(rows: number): number {
  if (rows < SMALLEST) return 1;
  let size = SMALLEST;
  while (size * FACTOR <= rows) size *= FACTOR;
  return size;
}

export class Pyramid {
  private readonly levels: Level[] = [];
  private length = 0;
  // The extremes of the stretch that is being looked through, and where they lie.
  private low = Infinity;
  private high = -Infinity;
  private least = -1;
  private greatest = -1;

  constructor(private readonly source: Source) {}

  /** The source has changed from `length` on. */
  cut(length: number): void {
    this.length = Math.min(this.length, length);
  }

  /** The values that `extremes` has found last, at `least` and at `greatest`. */
  get lowest(): number {
    return this.low;
  }

  get highest(): number {
    return this.high;
  }

  /** Finds the extremes of the values from `from` to before `to`; `found` is written to and returned. NaN is passed over. */
  extremes(from: number, to: number, found: Extremes): Extremes {
    const values = this.update();
    this.low = Infinity;
    this.high = -Infinity;
    this.least = -1;
    this.greatest = -1;
    this.scan(values, -1, from, Math.min(to, values.length));
    found.least = this.least;
    found.greatest = this.greatest;
    return found;
  }

  /** Looks through buckets of a level (−1: the values themselves), as many of them as possible one level higher.
   *  @param from, to of the buckets */
  private scan(values: Float64Array, depth: number, from: number, to: number): void {
    const factor = depth < 0 ? SMALLEST : FACTOR;
    const above = Math.ceil(from / factor);
    const end = Math.floor(to / factor);
    if (end <= above || depth + 1 >= this.levels.length) {
      this.look(values, depth, from, to);
      return;
    }
    this.look(values, depth, from, above * factor);
    this.scan(values, depth + 1, above, end);
    this.look(values, depth, end * factor, to);
  }

  private look(values: Float64Array, depth: number, from: number, to: number): void {
    const level = this.levels[depth];
    let { low, high } = this;
    if (level === undefined) {
      for (let at = from; at < to; at++) {
        const value = values[at] ?? NaN;
        if (value < low) {
          low = value;
          this.least = at;
        }
        if (value > high) {
          high = value;
          this.greatest = at;
        }
      }
    } else {
      const { low: lows, high: highs, least, greatest } = level;
      for (let at = from; at < to; at++) {
        const lower = lows[at] ?? NaN;
        if (lower < low) {
          low = lower;
          this.least = least[at] ?? -1;
        }
        const higher = highs[at] ?? NaN;
        if (higher > high) {
          high = higher;
          this.greatest = greatest[at] ?? -1;
        }
      }
    }
    this.low = low;
    this.high = high;
  }

  /** Takes in the rows that have been added; costs what they are many. `extremes` does so by itself. */
  update(): Float64Array {
    const values = this.source.values();
    const from = this.length;
    if (from === values.length && from > 0) return values;
    this.length = values.length;
    let depth = 0;
    for (let size = SMALLEST; size <= values.length; depth++, size *= FACTOR) {
      const level = (this.levels[depth] ??= newLevel(size));
      const full = Math.floor(values.length / size);
      if (level.low.length < full) grow(level, full);
      const below = this.levels[depth - 1];
      for (let bucket = Math.floor(from / size); bucket < full; bucket++) {
        if (below === undefined) fromValues(level, bucket, values);
        else fromBuckets(level, bucket, below);
      }
    }
    this.levels.length = depth;
    return values;
  }
}

function newLevel(size: number): Level {
  return {
    size,
    low: new Float64Array(0),
    high: new Float64Array(0),
    least: new Uint32Array(0),
    greatest: new Uint32Array(0),
  };
}

function grow(level: Level, buckets: number): void {
  const capacity = Math.max(buckets, level.low.length * 2);
  const grown = <Numbers extends Float64Array | Uint32Array>(old: Numbers, larger: Numbers): Numbers => {
    larger.set(old);
    return larger;
  };
  level.low = grown(level.low, new Float64Array(capacity));
  level.high = grown(level.high, new Float64Array(capacity));
  level.least = grown(level.least, new Uint32Array(capacity));
  level.greatest = grown(level.greatest, new Uint32Array(capacity));
}

function fromValues(level: Level, bucket: number, values: Float64Array): void {
  let least = 0;
  let greatest = 0;
  let low = Infinity;
  let high = -Infinity;
  const end = (bucket + 1) * level.size;
  for (let at = bucket * level.size; at < end; at++) {
    const value = values[at] ?? NaN;
    if (value < low) {
      low = value;
      least = at;
    }
    if (value > high) {
      high = value;
      greatest = at;
    }
  }
  level.low[bucket] = low;
  level.high[bucket] = high;
  level.least[bucket] = least;
  level.greatest[bucket] = greatest;
}

function fromBuckets(level: Level, bucket: number, below: Level): void {
  let least = bucket * FACTOR;
  let greatest = least;
  for (let child = least + 1; child < (bucket + 1) * FACTOR; child++) {
    if ((below.low[child] ?? NaN) < (below.low[least] ?? NaN)) least = child;
    if ((below.high[child] ?? NaN) > (below.high[greatest] ?? NaN)) greatest = child;
  }
  level.low[bucket] = below.low[least] ?? NaN;
  level.high[bucket] = below.high[greatest] ?? NaN;
  level.least[bucket] = below.least[least] ?? 0;
  level.greatest[bucket] = below.greatest[greatest] ?? 0;
}
