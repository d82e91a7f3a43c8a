// Charts of the step rows: one or two columns a run, as measured and smoothed.
import { reading, tickLabel, type Quantity } from '../shared/format';
import { Y_AXIS_WIDTH, type PlotArea } from '../shared/plot';
import { lowerBound } from '../shared/series/columns';
import { pixelBorders, roomyAxis, union, type Axis, type Range } from '../shared/series/axis';
import { after, nearest, thin, type Thinned } from '../shared/series/thin';
import { ticks, type TickUnit } from '../shared/series/ticks';
import { drawMarker, strokeLine, strokeUpright, type Stroke } from '../shared/strokes';
import { cssColour } from '../shared/colour';
import { evenly, TABLE_ROWS } from './picture';
import type {
  CardOptions,
  ChartDefinition,
  Picture,
  Readout,
  ReadoutRow,
  Scene,
  ShownRun,
  Sign,
  TableData,
} from './picture';
import type { RowColumn } from './protocol';
import { rowsCsv } from './series/csv';
import { countNotPositive, extentWithin, positionOf } from './series/run-data';
import { text } from './strings';
import { placeHeading } from './x-axis';

interface ColumnSpec {
  readonly column: RowColumn;
  /** Told apart from the other column by it; null: the only one. */
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
}

/** Of the second column. */
const SECOND_DASH = [2, 3];
const PLOT_HEIGHT = 200;

export function lineChart(spec: LineChartSpec): ChartDefinition {
  return {
    id: spec.id,
    title: spec.title,
    unit: spec.unit,
    canLog: true,
    axisWidth: Y_AXIS_WIDTH,
    wide: false,
    height: () => PLOT_HEIGHT,
    picture: (scene, options) => linePicture(spec, scene, options),
  };
}

interface Line {
  readonly run: ShownRun;
  readonly spec: ColumnSpec;
  readonly x: Float64Array;
  readonly raw: ReturnType<ShownRun['data']['series']>;
  /** null: not smoothed. */
  readonly smooth: ReturnType<ShownRun['data']['series']> | null;
  readonly sign: Sign;
}

function linesOf(spec: LineChartSpec, scene: Scene, logY: boolean): Line[] {
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
          dash: index === 0 ? run.style.dash : SECOND_DASH,
          marker: scene.several ? run.style.marker : null,
        },
      };
    }),
  );
}

function linePicture(spec: LineChartSpec, scene: Scene, options: CardOptions): Picture {
  const lines = linesOf(spec, scene, options.logY);
  const y = yAxis(spec, lines, scene.axis, options);
  const borders = pixelBorders(scene.axis, options.width);
  const inView = (x: Float64Array) => after(x, scene.axis.max) - lowerBound(x, scene.axis.min);

  const strokes: Stroke[] = [];
  const stroke = (line: Line, points: Thinned, faint: boolean) => {
    strokes.push({
      points,
      colour: line.sign.colour,
      alpha: faint ? 0.35 : line.sign.alpha,
      width: faint ? 1 : 1.75,
      dash: faint ? [] : line.sign.dash,
      markers: !faint && line.sign.marker !== null ? 'sparse' : 'none',
      marker: line.sign.marker ?? 'circle',
    });
  };
  for (const line of lines) {
    stroke(line, thin(line.x, line.raw.values(), line.raw.pyramid, borders), line.smooth !== null);
  }
  for (const line of lines) {
    if (line.smooth !== null) stroke(line, thin(line.x, line.smooth.values(), line.smooth.pyramid, borders), false);
  }

  const rows = scene.runs.reduce((sum, run) => sum + run.data.rows.length, 0);
  const points = scene.runs.reduce((sum, run) => sum + inView(run.data.x(scene.x)), 0);
  const skipped = spec.marks ? skippedIn(scene, borders) : [];
  return {
    y: {
      axis: y,
      ticks: ticks(y, 6, spec.tickUnit),
      label: (value) => tickLabel(value, spec.quantity),
      title: null,
    },
    draw: (context, area) => {
      drawMarks(context, area, scene, spec.marks);
      for (const each of strokes) strokeLine(context, area, each);
      drawSkipped(context, area, skipped, scene);
    },
    legend: legendOf(spec, scene, lines),
    scale: null,
    notes: [...logNotes(lines, options.logY), ...(skipped.length > 0 ? [`× ${text.skippedStep()}`] : [])],
    empty: emptyText(scene, rows, points),
    points,
    drawn: strokes.reduce((sum, each) => sum + each.points.length, 0),
    latest: latestOf(spec, scene),
    lastStep: scene.focus?.data.rows.column('step').at(-1) ?? 0,
    readout: (x) => readoutAt(spec, scene, lines, x),
    neighbour: (x, direction) => neighbourOf(scene, x, direction),
    table: () => tableOf(spec, scene, lines),
    csv: () =>
      rowsCsv(
        scene.runs.map((run) => ({ name: run.info.name, data: run.data })),
        {
          columns: spec.columns.map((each) => each.column),
          smoothing: scene.smoothing,
          smoothed: spec.columns.filter((each) => each.smooth).map((each) => each.column),
          x: scene.x,
          range: scene.axis,
        },
      ),
  };
}

function emptyText(scene: Scene, rows: number, points: number): string | null {
  if (scene.runs.length === 0 && scene.focus !== null) return text.allHidden();
  if (rows === 0) return text.waitForSteps();
  return points === 0 ? text.outsideView() : null;
}

function yAxis(spec: LineChartSpec, lines: readonly Line[], x: Range, { logY, y }: CardOptions): Axis {
  const kind = logY ? 'log' : 'linear';
  if (y !== null && (!logY || y.min > 0)) return { kind, ...y };
  const extent = union(
    lines.flatMap((line) => [
      extentWithin(line.x, line.raw, x),
      line.smooth === null ? null : extentWithin(line.x, line.smooth, x),
    ]),
  );
  if (!spec.fromZero || logY || extent === null || extent.min < 0) return roomyAxis(kind, extent);
  return { kind, min: 0, max: roomyAxis(kind, { min: 0, max: extent.max }).max };
}

function legendOf(spec: LineChartSpec, scene: Scene, lines: readonly Line[]): Picture['legend'] {
  const own = lines.filter(
    (line) => line.run === (scene.runs.includes(scene.focus ?? line.run) ? scene.focus : line.run),
  );
  return own.slice(0, spec.columns.length).flatMap((line) => {
    if (line.spec.label !== null) return [{ sign: line.sign, label: line.spec.label() }];
    if (line.smooth === null) return [];
    return [
      { sign: line.sign, label: text.smoothed() },
      { sign: { ...line.sign, alpha: 0.35, dash: [], marker: null }, label: text.raw() },
    ];
  });
}

function logNotes(lines: readonly Line[], logY: boolean): string[] {
  if (!logY) return [];
  const hidden = lines.reduce((sum, line) => sum + countNotPositive(line.run.data.rows.column(line.spec.column)), 0);
  if (hidden === 0) return [];
  return [hidden === 1 ? text.oneNotOnLogAxis() : text.notOnLogAxis(reading(hidden, 'step'))];
}

function latestOf(spec: LineChartSpec, { focus }: Scene): string | null {
  const [column] = spec.columns;
  if (focus === null || column === undefined) return null;
  const value = focus.data.rows.column(column.column).at(-1);
  return value === undefined ? null : reading(value, spec.quantity);
}

/** Resumes of the header's run, and its checkpoints as small marks on the axis. */
export function drawMarks(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  { focus, runs, x, theme }: Scene,
  checkpoints: boolean,
): void {
  if (focus === null || !runs.includes(focus)) return;
  const font = `${String(theme.fontSize)}px ${theme.font}`;
  for (const mark of focus.data.resumes) {
    strokeUpright(context, area, positionOf(mark, x), theme.muted, text.resumed(), font);
  }
  if (!checkpoints) return;
  context.fillStyle = cssColour(theme.muted);
  for (const mark of focus.data.checkpoints) {
    const at = area.toX(positionOf(mark, x));
    if (at >= area.left && at <= area.right) drawMarker(context, 'triangle', at, area.bottom - 3, 3);
  }
}

/** x of skipped steps, at most one a pixel. */
function skippedIn(scene: Scene, borders: Float64Array): number[] {
  const found: number[] = [];
  for (const { data } of scene.runs) {
    const series = data.series('skipped', { smoothing: 0, positive: true });
    const { x, y, length } = thin(data.x(scene.x), series.values(), series.pyramid, borders);
    for (let at = 0; at < length; at++) if ((y[at] ?? 0) > 0) found.push(x[at] ?? NaN);
  }
  return found;
}

function drawSkipped(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  skipped: readonly number[],
  scene: Scene,
): void {
  context.strokeStyle = cssColour(scene.theme.error);
  for (const x of skipped) drawMarker(context, 'cross', area.toX(x), area.bottom - 6, 3);
}

/** Row of a run nearest to x; −1 where the run has nothing there. */
function rowAt(run: ShownRun, scene: Scene, x: number): number {
  const xs = run.data.x(scene.x);
  const row = nearest(xs, x);
  // Not a value from far away: past its last step a run has none.
  const reach = (scene.axis.max - scene.axis.min) / 50;
  const last = xs.at(-1) ?? NaN;
  return row >= 0 && x <= last + Math.max(reach, last - (xs.at(-2) ?? 0)) ? row : -1;
}

function readoutAt(spec: LineChartSpec, scene: Scene, lines: readonly Line[], x: number): Readout | null {
  const rows: ReadoutRow[] = [];
  let place: { x: number; heading: string } | null = null;
  for (const line of lines) {
    const row = rowAt(line.run, scene, x);
    if (row < 0) continue;
    const { rows: data } = line.run.data;
    const at = line.x[row] ?? NaN;
    place ??= {
      x: at,
      heading: placeHeading({
        step: data.column('step')[row] ?? NaN,
        tokens: data.column('tokens')[row] ?? NaN,
        elapsed: data.column('elapsed')[row] ?? NaN,
      }),
    };
    const measured = data.column(line.spec.column)[row] ?? NaN;
    const smooth = line.smooth?.values()[row];
    const name = scene.several ? line.run.info.name : '';
    const label = [name, line.spec.label?.() ?? ''].filter((part) => part !== '').join(' · ');
    const value = reading(measured, spec.quantity);
    rows.push({
      sign: line.sign,
      label: label === '' ? spec.title() : label,
      value: smooth === undefined ? value : `${value}  (${text.smoothed()} ${reading(smooth, spec.quantity)})`,
      at: { x: at, y: smooth ?? measured },
    });
  }
  return place === null ? null : { ...place, rows };
}

/** Next x of the header's run, or of the first that is shown. */
export function neighbourOf(scene: Scene, x: number | null, direction: -1 | 1): number | null {
  const run = scene.focus !== null && scene.runs.includes(scene.focus) ? scene.focus : scene.runs[0];
  if (run === undefined) return null;
  const xs = run.data.x(scene.x);
  const first = lowerBound(xs, scene.axis.min);
  const last = after(xs, scene.axis.max) - 1;
  if (last < first) return null;
  if (x === null) return xs[direction > 0 ? first : last] ?? null;
  // A pixel at least, or a million points would take a million key presses.
  const least = (scene.axis.max - scene.axis.min) / 1000;
  const next =
    direction > 0
      ? Math.max(after(xs, x), lowerBound(xs, x + least))
      : Math.min(lowerBound(xs, x), after(xs, x - least)) - 1;
  return xs[Math.max(first, Math.min(last, next))] ?? null;
}

function tableOf(spec: LineChartSpec, scene: Scene, lines: readonly Line[]): TableData {
  const places: { run: ShownRun; row: number }[] = [];
  const ranges = scene.runs.map((run) => {
    const xs = run.data.x(scene.x);
    return { run, from: lowerBound(xs, scene.axis.min), to: after(xs, scene.axis.max) };
  });
  const total = ranges.reduce((sum, { from, to }) => sum + Math.max(0, to - from), 0);
  const share = Math.max(1, Math.floor(TABLE_ROWS / Math.max(1, ranges.length)));
  for (const { run, from, to } of ranges) {
    for (const at of evenly(Math.max(0, to - from), share)) places.push({ run, row: from + at });
  }
  const columns = spec.columns.flatMap((column) => {
    const name = column.label?.() ?? spec.title();
    return column.smooth && scene.smoothing > 0 ? [name, `${name}, ${text.smoothed()}`] : [name];
  });
  return {
    columns: [
      ...(scene.several ? [{ label: text.tableRun(), numeric: false }] : []),
      ...[text.tableStep(), text.tableTokens(), text.tableTime(), ...columns].map((label) => ({
        label,
        numeric: true,
      })),
    ],
    rows: places.map(({ run, row }) => {
      const { rows } = run.data;
      const values = lines
        .filter((line) => line.run === run)
        .flatMap((line) => {
          const measured = rows.column(line.spec.column)[row] ?? NaN;
          return line.smooth === null ? [measured] : [measured, line.smooth.values()[row] ?? NaN];
        });
      return [
        ...(scene.several ? [run.info.name] : []),
        reading(rows.column('step')[row] ?? NaN, 'step'),
        reading(rows.column('tokens')[row] ?? NaN, 'tokens'),
        reading(rows.column('elapsed')[row] ?? NaN, 'time'),
        ...values.map((value) => reading(value, spec.quantity)),
      ];
    }),
    total,
  };
}
