// A column of the run as series that can be drawn: as measured, smoothed, and for logarithmic axes.
import { Pyramid } from '../../shared/series/pyramid';
import type { Slices } from '../../shared/series/slices';
import { Smoothed } from '../../shared/series/smoothed';
import { Plain, Positive } from '../../shared/series/source';

export interface Series {
  /** A view, good until the next change. Shorter than the column while it is being computed for the first time. */
  values(): Float64Array;
  readonly pyramid: Pyramid;
}

export class ColumnSeries {
  readonly plain: Series;
  private readonly source: Plain;
  private average: Smoothed | null = null;
  /** Of the column, and of its average. Only where there is something that a logarithmic axis cannot show. */
  private readonly positives = new Map<Series, PositiveSeries>();

  constructor(
    read: () => Float64Array,
    private readonly slices: Slices,
  ) {
    this.source = new Plain(read);
    const pyramid = new Pyramid(this.source);
    this.plain = { values: () => this.source.values(), pyramid };
  }

  /** @param weight of the past. What is given may still be the average of the weight before. */
  smoothed(weight: number): Series {
    if (this.average === null) {
      const average: Smoothed = new Smoothed(this.source, weight, () => this.positives.get(average)?.cut(0));
      this.average = average;
    }
    this.average.want(weight);
    this.slices.add(this.average);
    return this.average;
  }

  /** `series` (of this column) without what a logarithmic axis cannot show. */
  positive(series: Series): Series {
    return isPositive(series) ? series : this.positiveOf(series);
  }

  /** How many numbers a logarithmic axis cannot show. */
  notPositive(): number {
    return isPositive(this.plain) ? 0 : this.positiveOf(this.plain).hidden;
  }

  /** Rows from `length` on have changed or are gone. */
  cut(length: number): void {
    this.plain.pyramid.cut(length);
    this.average?.cut(length);
    for (const positive of this.positives.values()) positive.cut(length);
  }

  dispose(): void {
    if (this.average !== null) this.slices.drop(this.average);
  }

  private positiveOf(series: Series): PositiveSeries {
    let found = this.positives.get(series);
    if (found === undefined) {
      found = new PositiveSeries(series);
      this.positives.set(series, found);
    }
    return found;
  }
}

function isPositive(series: Series): boolean {
  const values = series.values();
  const { least } = series.pyramid.extremes(0, values.length, { least: -1, greatest: -1 });
  return least < 0 || (values[least] ?? NaN) > 0;
}

class PositiveSeries implements Series {
  readonly pyramid: Pyramid;
  private readonly source: Positive;

  constructor(series: Series) {
    this.source = new Positive(series);
    this.pyramid = new Pyramid(this.source);
  }

  values(): Float64Array {
    return this.source.values();
  }

  get hidden(): number {
    return this.source.hidden;
  }

  cut(length: number): void {
    this.source.cut(length);
    this.pyramid.cut(length);
  }
}
