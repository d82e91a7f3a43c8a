// Columns made from columns: smoothed, or without what a logarithmic axis cannot show. Each keeps what it has computed and goes
// on from there when rows are appended; `cut` says from where on it must compute again.

export interface Source {
  /** As long as the rows of the run; NaN: no value. A view, good until the next change. */
  values(): Float64Array;
  cut(length: number): void;
}

/** A column as it is. */
export class Plain implements Source {
  constructor(private readonly read: () => Float64Array) {}

  values(): Float64Array {
    return this.read();
  }

  cut(): void {}
}

abstract class Derived implements Source {
  private result: Float64Array = new Float64Array(0);
  /** Rows computed. */
  private done = 0;

  constructor(protected readonly source: Source) {}

  values(): Float64Array {
    const values = this.source.values();
    if (this.done < values.length) {
      this.result = this.resized(this.result, values.length);
      this.compute(values, this.result, this.done);
      this.done = values.length;
    }
    return this.result.subarray(0, values.length);
  }

  cut(length: number): void {
    this.done = Math.min(this.done, length);
  }

  protected resized(array: Float64Array, length: number): Float64Array {
    if (array.length >= length) return array;
    const larger = new Float64Array(Math.max(length, array.length * 2, 256));
    larger.set(array);
    return larger;
  }

  protected abstract compute(values: Float64Array, result: Float64Array, from: number): void;
}

/** Exponential moving average m ← w·m + (1 − w)·y, divided by 1 − wⁿ (n values so far) so that the first values are not drawn
 *  towards zero. NaN leaves the average as it is; the average is not defined before the first number. */
export class Smoothed extends Derived {
  /** wⁿ at each row: what the average lacks of full weight. */
  private missing: Float64Array = new Float64Array(0);

  /** @param weight of the past, 0 to below 1; after a change `cut(0)` computes anew. */
  constructor(
    source: Source,
    public weight: number,
  ) {
    super(source);
  }

  protected compute(values: Float64Array, result: Float64Array, from: number): void {
    this.missing = this.resized(this.missing, values.length);
    const { weight, missing } = this;
    let lacking = from === 0 ? 1 : (missing[from - 1] ?? 1);
    let average = from === 0 ? NaN : (result[from - 1] ?? NaN);
    let sum = lacking === 1 ? 0 : average * (1 - lacking);
    for (let row = from; row < values.length; row++) {
      const value = values[row] ?? NaN;
      if (!Number.isNaN(value)) {
        sum = weight * sum + (1 - weight) * value;
        lacking *= weight;
        average = sum / (1 - lacking);
      }
      result[row] = average;
      missing[row] = lacking;
    }
  }
}

/** Values above zero; what a logarithmic axis cannot show becomes NaN. */
export class Positive extends Derived {
  protected compute(values: Float64Array, result: Float64Array, from: number): void {
    for (let row = from; row < values.length; row++) {
      const value = values[row] ?? NaN;
      result[row] = value > 0 ? value : NaN;
    }
  }
}
