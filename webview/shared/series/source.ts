// Columns as others see them: as they are, or without what a logarithmic axis cannot show.

export interface Source {
  /** As long as the rows of the run, or as far as it has been computed; NaN: no value. A view, good until the next change. */
  values(): Float64Array;
  /** Rows from `length` on have changed or are gone. */
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

/** Values above zero; what a logarithmic axis cannot show becomes NaN. Keeps what it has looked at and goes on from there. */
export class Positive implements Source {
  private result = new Float64Array(0);
  private done = 0;
  private hiddenCount = 0;

  constructor(private readonly source: Pick<Source, 'values'>) {}

  values(): Float64Array {
    const values = this.source.values();
    if (this.done < values.length) {
      if (this.result.length < values.length) {
        const larger = new Float64Array(Math.max(values.length, this.result.length * 2, 256));
        larger.set(this.result.subarray(0, this.done));
        this.result = larger;
      }
      this.compute(values, this.done);
      this.done = values.length;
    }
    return this.result.subarray(0, values.length);
  }

  /** How many numbers a logarithmic axis cannot show. */
  get hidden(): number {
    this.values();
    return this.hiddenCount;
  }

  cut(length: number): void {
    if (length >= this.done) return;
    // Counted anew: what has been cut may have been overwritten by now. Seldom, only when a run is resumed.
    this.done = 0;
    this.hiddenCount = 0;
  }

  private compute(values: Float64Array, from: number): void {
    for (let row = from; row < values.length; row++) {
      const value = values[row] ?? NaN;
      if (value <= 0) this.hiddenCount++;
      this.result[row] = value > 0 ? value : NaN;
    }
  }
}
