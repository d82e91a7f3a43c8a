// What a chart of step rows is made of: which columns, and for every shown run their series.
import type { Quantity } from '../shared/format';
import type { TickUnit } from '../shared/series/ticks';
import type { Scene, ShownRun, Sign } from './picture';
import { SPARSE_COLUMNS, type RowColumn } from './protocol';
import type { Series } from './series/column-series';

interface ColumnSpec {
  readonly column: RowColumn;
  /** Told apart from other columns by it; null: the only one. */
  readonly label: (() => string) | null;
  /** Draw the moving average, and what was measured faintly behind it. */
  readonly smooth: boolean;
}

export interface LineChartSpec {
  readonly id: string;
  readonly title: () => string;
  readonly unit: () => string;
  readonly quantity: Quantity;
  readonly tickUnit: TickUnit;
  readonly columns: readonly ColumnSpec[];
  /** A linear axis begins at 0. */
  readonly fromZero: boolean;
  /** Mark checkpoints and skipped steps. */
  readonly marks: boolean;
  /** Shown only where a run has a number for it. */
  readonly optional?: boolean;
}

/** Of the second column, the third and so on. */
const DASHES = [
  [2, 3],
  [7, 3],
  [7, 3, 2, 3],
  [1, 5],
  [10, 3, 2, 3, 2, 3],
  [4, 2],
];

/** The chart with those columns alone of which a shown run has numbers, as far as there are runs without them. */
export function withColumnsThere(spec: LineChartSpec, { runs }: Scene): LineChartSpec {
  const isThere = (column: RowColumn): boolean =>
    !SPARSE_COLUMNS.has(column) || runs.some(({ data }) => data.has(column));
  return { ...spec, columns: spec.columns.filter(({ column }) => isThere(column)) };
}

/** One column of one run. */
export interface Line {
  readonly run: ShownRun;
  readonly spec: ColumnSpec;
  readonly x: Float64Array;
  readonly raw: Series;
  /** null: not smoothed. */
  readonly smooth: Series | null;
  readonly sign: Sign;
}

export function linesOf(spec: LineChartSpec, scene: Scene, logY: boolean): Line[] {
  return scene.runs.flatMap((run) =>
    spec.columns.map((column, index): Line => {
      const smoothing = column.smooth ? scene.smoothing : 0;
      return {
        run,
        spec: column,
        x: run.data.x(scene.x),
        raw: run.data.series(column.column, { smoothing: 0, positive: logY }),
        smooth: smoothing > 0 ? run.data.series(column.column, { smoothing, positive: logY }) : null,
        sign: {
          colour: run.colour,
          alpha: index === 0 ? 1 : 0.75,
          dash: index === 0 ? run.style.dash : (DASHES[(index - 1) % DASHES.length] ?? []),
          marker: scene.several ? run.style.marker : null,
        },
      };
    }),
  );
}
