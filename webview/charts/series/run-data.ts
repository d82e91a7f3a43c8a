// What the panel knows of one run: columns and marks, kept up by deltas, and the series derived from them.
import {
  LAYER_COLUMNS,
  ROW_COLUMNS,
  type CheckpointMark,
  type Evaluation,
  type ResumeMark,
  type RowColumn,
  type RunDelta,
  type XAxis,
} from '../protocol';
import type { Range } from '../../shared/series/axis';
import { Columns, lowerBound } from '../../shared/series/columns';
import { Pyramid, type Extremes } from '../../shared/series/pyramid';
import { Plain, Positive, Smoothed, type Source } from '../../shared/series/source';
import { after } from '../../shared/series/thin';

/** A column of the run, ready to be drawn. */
export interface Series {
  values(): Float64Array;
  readonly pyramid: Pyramid;
}

export interface SeriesChoice {
  /** Weight of the past, 0: as measured. */
  readonly smoothing: number;
  /** Without what a logarithmic axis cannot show. */
  readonly positive: boolean;
}

const X_COLUMN = { step: 'step', tokens: 'tokens', time: 'elapsed' } as const satisfies Record<XAxis, RowColumn>;

/** Where something that happened at a step lies on an x axis. */
export function positionOf(
  mark: { readonly step: number; readonly tokens: number; readonly elapsed: number },
  axis: XAxis,
): number {
  return mark[X_COLUMN[axis]];
}

export class RunData {
  readonly rows = new Columns(ROW_COLUMNS);
  readonly layers = new Columns(LAYER_COLUMNS);
  layerNames: readonly string[] = [];
  evaluations: readonly Evaluation[] = [];
  checkpoints: readonly CheckpointMark[] = [];
  resumes: readonly ResumeMark[] = [];
  private revision = 0;
  private readonly derived = new Map<string, Derived>();

  /** Has anything been received? */
  get known(): boolean {
    return this.revision > 0;
  }

  /** false: the delta builds on something else than what is here, and nothing was changed; a snapshot is needed. */
  apply(delta: RunDelta): boolean {
    const { rows, layers } = delta;
    if (delta.base !== 0 && delta.base !== this.revision) return false;
    if (delta.base === 0) this.clear();
    if (rows !== null && rows.keep > this.rows.length) return false;
    if (layers !== null && layers.rows.keep > this.layers.length) return false;
    if (rows !== null) {
      this.rows.replace(rows.keep, rows.count, rows.columns);
      for (const derived of this.derived.values()) cut(derived, rows.keep);
    }
    if (layers !== null) {
      this.layers.replace(layers.rows.keep, layers.rows.count, layers.rows.columns);
      this.layerNames = layers.names;
    }
    this.evaluations = applied(this.evaluations, delta.evaluations);
    this.checkpoints = applied(this.checkpoints, delta.checkpoints);
    this.resumes = applied(this.resumes, delta.resumes);
    this.revision = delta.revision;
    return true;
  }

  x(axis: XAxis): Float64Array {
    return this.rows.column(X_COLUMN[axis]);
  }

  /** Position of a step on an axis: of the last row that is not after it; 0 for what came before the first. */
  xOfStep(step: number, axis: XAxis): number {
    if (axis === 'step') return step;
    const row = after(this.rows.column('step'), step) - 1;
    return row < 0 ? 0 : (this.x(axis)[row] ?? 0);
  }

  /** Computed when first asked for and kept up from then on. A column has one smoothed series: asking for it with another weight
   *  changes the one that was given before. */
  series(column: RowColumn, { smoothing, positive }: SeriesChoice): Series {
    const key = `${column}/${String(smoothing > 0)}/${String(positive)}`;
    let derived = this.derived.get(key);
    if (derived === undefined) {
      derived = derive(() => this.rows.column(column), smoothing, positive);
      this.derived.set(key, derived);
    } else if (derived.smoothed !== null && derived.smoothed.weight !== smoothing) {
      // In place: a slider that is dragged would else allocate a column at every position.
      derived.smoothed.weight = smoothing;
      cut(derived, 0);
    }
    return derived.series;
  }

  private clear(): void {
    this.rows.truncate(0);
    this.layers.truncate(0);
    this.layerNames = [];
    this.evaluations = [];
    this.checkpoints = [];
    this.resumes = [];
    this.revision = 0;
    for (const derived of this.derived.values()) cut(derived, 0);
  }
}

/** A series with the columns that it is computed from. */
interface Derived {
  readonly sources: readonly Source[];
  readonly smoothed: Smoothed | null;
  readonly series: SeriesOf;
}

function derive(read: () => Float64Array, smoothing: number, positive: boolean): Derived {
  const plain = new Plain(read);
  const smoothed = smoothing > 0 ? new Smoothed(plain, smoothing) : null;
  const before = smoothed ?? plain;
  const last = positive ? new Positive(before) : before;
  return { sources: [...new Set([plain, before, last])], smoothed, series: new SeriesOf(last) };
}

function cut({ sources, series }: Derived, length: number): void {
  for (const source of sources) source.cut(length);
  series.pyramid.cut(length);
}

class SeriesOf implements Series {
  readonly pyramid: Pyramid;

  constructor(private readonly source: Source) {
    this.pyramid = new Pyramid(source);
  }

  values(): Float64Array {
    return this.source.values();
  }
}

function applied<Item>(
  items: readonly Item[],
  change: { readonly keep: number; readonly items: readonly Item[] } | null,
): readonly Item[] {
  return change === null ? items : [...items.slice(0, change.keep), ...change.items];
}

/** Least and greatest value of a series where x lies within `range`; null where there is no number. */
export function extentWithin(x: Float64Array, series: Series, range: Range): Range | null {
  const found: Extremes = { least: -1, greatest: -1 };
  series.pyramid.extremes(lowerBound(x, range.min), after(x, range.max), found);
  if (found.least < 0) return null;
  const values = series.values();
  return { min: values[found.least] ?? NaN, max: values[found.greatest] ?? NaN };
}

/** Numbers that a logarithmic axis cannot show. */
export function countNotPositive(values: Float64Array): number {
  let found = 0;
  for (const value of values) if (value <= 0) found++;
  return found;
}
