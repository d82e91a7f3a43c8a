// What the panel knows of one run: columns and marks, kept up by deltas, and the series derived from them.
import {
  LAYER_COLUMNS,
  ROW_COLUMNS,
  SPARSE_COLUMNS,
  type CheckpointMark,
  type Evaluation,
  type ResumeMark,
  type RowColumn,
  type RunDelta,
  type XAxis,
} from '../protocol';
import { pixelBorders, type Axis, type Range } from '../../shared/series/axis';
import { Columns, lowerBound } from '../../shared/series/columns';
import type { Extremes } from '../../shared/series/pyramid';
import { Slices } from '../../shared/series/slices';
import { after, pixelRows, type PixelRows } from '../../shared/series/thin';
import { ColumnSeries, type Series } from './column-series';
import { heatGrid, type HeatGrid, type HeatQuantity } from './heat';

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
  readonly rows = new Columns(ROW_COLUMNS, undefined, SPARSE_COLUMNS);
  readonly layers = new Columns(LAYER_COLUMNS);
  layerNames: readonly string[] = [];
  evaluations: readonly Evaluation[] = [];
  checkpoints: readonly CheckpointMark[] = [];
  resumes: readonly ResumeMark[] = [];
  private revision = 0;
  private readonly columns = new Map<RowColumn, ColumnSeries>();
  private readonly grids = new Map<HeatQuantity, HeatGrid>();
  private looked: { readonly key: string; readonly rows: PixelRows } | null = null;

  /** @param slices where averages are computed bit by bit; by default at once. */
  constructor(private readonly slices: Slices = new Slices()) {}

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
      for (const column of this.columns.values()) column.cut(rows.keep);
      this.looked = null;
    }
    if (layers !== null) {
      this.layers.replace(layers.rows.keep, layers.rows.count, layers.rows.columns);
      this.layerNames = layers.names;
      this.grids.clear();
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
   *  changes the one that was given before, as soon as the new one is complete. */
  series(column: RowColumn, { smoothing, positive }: SeriesChoice): Series {
    const found = this.column(column);
    const series = smoothing > 0 ? found.smoothed(smoothing) : found.plain;
    return positive ? found.positive(series) : series;
  }

  /** Is there any number in a column? */
  has(column: RowColumn): boolean {
    const found: Extremes = { least: -1, greatest: -1 };
    this.column(column).plain.pyramid.extremes(0, this.rows.length, found);
    return found.least >= 0;
  }

  /** Numbers of a column that a logarithmic axis cannot show. */
  notPositive(column: RowColumn): number {
    return this.column(column).notPositive();
  }

  /** Which rows lie on which pixel of an axis. Kept for the next chart, which mostly is as wide. */
  rowsOnPixels(x: XAxis, axis: Axis, pixels: number): PixelRows {
    const key = JSON.stringify([x, axis, pixels]);
    if (this.looked?.key !== key) this.looked = { key, rows: pixelRows(this.x(x), pixelBorders(axis, pixels)) };
    return this.looked.rows;
  }

  /** The layers as a heat map. */
  heat(quantity: HeatQuantity): HeatGrid {
    let grid = this.grids.get(quantity);
    if (grid === undefined) {
      grid = heatGrid(this, quantity);
      this.grids.set(quantity, grid);
    }
    return grid;
  }

  /** The run has left the panel. */
  dispose(): void {
    for (const column of this.columns.values()) column.dispose();
  }

  private column(name: RowColumn): ColumnSeries {
    let found = this.columns.get(name);
    if (found === undefined) {
      found = new ColumnSeries(() => this.rows.column(name), this.slices);
      this.columns.set(name, found);
    }
    return found;
  }

  private clear(): void {
    this.rows.truncate(0);
    this.layers.truncate(0);
    this.layerNames = [];
    this.evaluations = [];
    this.checkpoints = [];
    this.resumes = [];
    this.revision = 0;
    for (const column of this.columns.values()) column.cut(0);
    this.grids.clear();
    this.looked = null;
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
