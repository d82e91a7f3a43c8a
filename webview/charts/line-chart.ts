// Charts of the step rows: some columns a run, as measured and smoothed.
import { reading, tickLabel } from '../shared/format';
import { Y_AXIS_WIDTH } from '../shared/plot';
import { roomyAxis, union, type Axis, type Range } from '../shared/series/axis';
import { lowerBound } from '../shared/series/columns';
import { after, thinRows, type Thinned } from '../shared/series/thin';
import { ticks } from '../shared/series/ticks';
import { strokeLine, type Stroke } from '../shared/strokes';
import { neighbourOf, readoutAt, tableOf } from './line-reading';
import { linesOf, withColumnsThere, type Line, type LineChartSpec } from './lines';
import { drawMarks, drawSkipped, skippedIn } from './marks';
import { hasNoSteps, pointedLast, presence } from './picture';
import type { CardOptions, ChartDefinition, Picture, Scene } from './picture';
import { rowsCsv } from './series/csv';
import type { Series } from './series/column-series';
import { extentWithin } from './series/run-data';
import { text } from './strings';

const PLOT_HEIGHT = 200;

export function lineChart(spec: LineChartSpec): ChartDefinition {
  return {
    id: spec.id,
    title: spec.title,
    unit: spec.unit,
    canLog: true,
    isThere: ({ runs }) =>
      spec.optional !== true || spec.columns.some(({ column }) => runs.some(({ data }) => data.has(column))),
    axisWidth: Y_AXIS_WIDTH,
    wide: false,
    smooths: spec.columns.some((column) => column.smooth),
    height: () => PLOT_HEIGHT,
    picture: (scene, options) => linePicture(spec, scene, options),
  };
}

function linePicture(whole: LineChartSpec, scene: Scene, options: CardOptions): Picture {
  const spec = withColumnsThere(whole, scene);
  const lines = linesOf(spec, scene, options.logY);
  const y = yAxis(spec, lines, scene.axis, options);
  const { width } = options;
  const thinned = (line: Line, series: Series) =>
    thinRows(line.x, series.values(), series.pyramid, line.run.data.rowsOnPixels(scene.x, scene.axis, width));
  const inView = (x: Float64Array) => after(x, scene.axis.max) - lowerBound(x, scene.axis.min);

  const strokes: Stroke[] = [];
  const stroke = (line: Line, points: Thinned, faint: boolean) => {
    strokes.push({
      points,
      colour: line.sign.colour,
      alpha: (faint ? scene.theme.faint : line.sign.alpha) * presence(scene, line.run),
      width: faint ? 1 : 1.75,
      dash: faint ? [] : line.sign.dash,
      markers: !faint && line.sign.marker !== null ? 'sparse' : 'none',
      marker: line.sign.marker ?? 'circle',
    });
  };
  const inOrder = pointedLast(lines, (line) => line.run, scene);
  for (const line of inOrder) stroke(line, thinned(line, line.raw), line.smooth !== null);
  for (const line of inOrder) {
    if (line.smooth !== null) stroke(line, thinned(line, line.smooth), false);
  }

  const rows = scene.runs.reduce((sum, run) => sum + run.data.rows.length, 0);
  const points = scene.runs.reduce((sum, run) => sum + inView(run.data.x(scene.x)), 0);
  const skipped = spec.marks ? skippedIn(scene, width) : [];
  return {
    y: {
      axis: y,
      ticks: ticks(y, 6, spec.tickUnit),
      label: (value) => tickLabel(value, spec.quantity),
    },
    draw: (context, area) => {
      drawMarks(context, area, scene, { checkpoints: spec.marks, named: true });
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
  if (rows === 0) {
    return scene.focus !== null && hasNoSteps(scene.focus.info) ? text.trainsNothing() : text.waitForSteps();
  }
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
      { sign: { ...line.sign, alpha: scene.theme.faint, dash: [], marker: null }, label: text.raw() },
    ];
  });
}

function logNotes(lines: readonly Line[], logY: boolean): string[] {
  if (!logY) return [];
  const hidden = lines.reduce((sum, line) => sum + line.run.data.notPositive(line.spec.column), 0);
  if (hidden === 0) return [];
  return [hidden === 1 ? text.oneNotOnLogAxis() : text.notOnLogAxis(reading(hidden, 'step'))];
}

function latestOf(spec: LineChartSpec, { focus }: Scene): string | null {
  const [column] = spec.columns;
  if (focus === null || column === undefined) return null;
  const value = focus.data.rows.column(column.column).at(-1);
  return value === undefined ? null : reading(value, spec.quantity);
}
