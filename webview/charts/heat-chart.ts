// The layers of one run as a heat map: one row a quantized linear, one cell a measurement.
import { reading } from '../shared/format';
import type { Axis } from '../shared/series/axis';
import { drawHeat, heatColour, type HeatColumn } from './heat-cells';
import { evenly, hasNoSteps, TABLE_ROWS } from './picture';
import type { CardOptions, ChartDefinition, Picture, Readout, Scene, TableData } from './picture';
import { layersCsv } from './series/csv';
import { shortName, type HeatGrid } from './series/heat';
import { heatName, text } from './strings';

/** Room for `11 down_proj`. */
const AXIS_WIDTH = 92;
/** Pixels of a row with a label, and at least. */
const ROW_HEIGHT = 13;
/** Below this, names would overlap. */
const LABEL_HEIGHT = 11.5;
const LEAST_ROW_HEIGHT = 3;
const MOST_HEIGHT = 600;

export const heatChart: ChartDefinition = {
  id: 'layers',
  title: text.layers,
  unit: (scene) => (scene.several && scene.focus !== null ? scene.focus.info.name : ''),
  canLog: false,
  isThere: () => true,
  axisWidth: AXIS_WIDTH,
  wide: true,
  smooths: false,
  height: (scene) => {
    const rows = scene.focus?.data.layerNames.length ?? 0;
    if (rows === 0) return 120;
    return Math.max(LEAST_ROW_HEIGHT * rows, Math.min(ROW_HEIGHT * rows, MOST_HEIGHT)) + 40;
  },
  picture,
};

/** Left and right border of each column of cells, in units of x. */
function borders(scene: Scene, grid: HeatGrid): HeatColumn[] {
  const { focus, axis } = scene;
  if (focus === null) return [];
  const at = Array.from(grid.steps, (step) => focus.data.xOfStep(step, scene.x));
  return at.map((right, index) => {
    // A measurement at step 0 has no training before it and still needs a cell to be seen.
    const left = index === 0 ? (axis.kind === 'log' ? Math.min(axis.min, right / 2) : 0) : (at[index - 1] ?? 0);
    return left < right ? { left, right } : { left: right - (axis.max - axis.min) / 100, right };
  });
}

function picture(scene: Scene, options: CardOptions): Picture {
  const { focus } = scene;
  const grid: HeatGrid =
    focus === null
      ? { names: [], steps: new Float64Array(0), values: new Float64Array(0), most: 0 }
      : focus.data.heat(scene.heat);
  const columns = borders(scene, grid);
  const rows = grid.names.length;
  const axis: Axis = { kind: 'linear', min: 0, max: Math.max(1, rows), ...(options.y ?? {}) };
  const rowHeight = options.height / Math.max(1, axis.max - axis.min);
  const lastStep = grid.steps.at(-1) ?? 0;
  const valueOf = (row: number, column: number) => grid.values[row * grid.steps.length + column] ?? NaN;
  return {
    y: {
      axis,
      ticks: labelledRows(grid, axis, rowHeight).map((row) => row + 0.5),
      label: (value) => rowLabel(grid.names[Math.floor(value)] ?? '', rowHeight < LABEL_HEIGHT),
      downwards: true,
      grid: false,
    },
    draw: (context, area) => drawHeat(context, area, { grid, columns, theme: scene.theme, gaps: rowHeight > 6 }),
    legend: [],
    scale:
      grid.most === 0
        ? null
        : { low: text.heatLow(), high: reading(grid.most, 'share'), colour: (share) => heatColour(scene.theme, share) },
    notes: [
      ...(columns.length > 0 ? [text.heatNote(reading(lastStep, 'step'))] : []),
      ...(columns.length > 0 && grid.most === 0 && scene.heat === 'clippedShare' ? [text.heatZero()] : []),
    ],
    empty:
      columns.length > 0
        ? null
        : scene.focus !== null && hasNoSteps(scene.focus.info)
          ? text.trainsNothing()
          : text.waitForLayers(),
    points: grid.values.length,
    drawn: grid.values.length,
    latest: null,
    lastStep,
    readout: (x, row) => readoutAt(scene, grid, columns, valueOf, x, row),
    neighbour: (x, direction) => {
      const places = columns.map((column) => column.right);
      if (x === null) return places.at(direction > 0 ? 0 : -1) ?? null;
      const next = direction > 0 ? places.find((each) => each > x) : places.findLast((each) => each < x);
      return next ?? places.at(direction > 0 ? -1 : 0) ?? null;
    },
    table: () => tableOf(grid, valueOf),
    csv: () => layersCsv(focus === null ? [] : [{ name: focus.info.name, data: focus.data }]),
  };
}

/** All rows where there is room for their names, else the first of each block. */
function labelledRows(grid: HeatGrid, axis: Axis, rowHeight: number): number[] {
  const rows = grid.names.map((_, row) => row).filter((row) => row + 0.5 >= axis.min && row + 0.5 <= axis.max);
  if (rowHeight >= LABEL_HEIGHT) return rows;
  const firsts = rows.filter((row) => {
    const block = shortName(grid.names[row] ?? '').block;
    return row === 0 || block !== shortName(grid.names[row - 1] ?? '').block;
  });
  const every = Math.max(1, Math.ceil((firsts.length * ROW_HEIGHT) / (rowHeight * Math.max(1, rows.length))));
  return firsts.filter((_, at) => at % every === 0);
}

function rowLabel(name: string, blockOnly: boolean): string {
  const { block, linear } = shortName(name);
  if (block === null) return linear;
  return blockOnly ? block : `${block} ${linear}`;
}

function readoutAt(
  scene: Scene,
  grid: HeatGrid,
  columns: readonly HeatColumn[],
  valueOf: (row: number, column: number) => number,
  x: number,
  row: number | null,
): Readout | null {
  const column = columns.findIndex((each) => x > each.left && x <= each.right);
  if (column < 0) return null;
  const step = grid.steps[column] ?? 0;
  const heading = `${text.atStep(reading(step, 'step'))} · ${heatName(scene.heat)}`;
  const at = columns[column]?.right ?? x;
  if (row !== null && row >= 0 && row < grid.names.length) {
    const label = grid.names[row] ?? '';
    return {
      x: at,
      heading,
      rows: [{ run: null, sign: null, label, value: reading(valueOf(row, column), 'share'), at: null }],
    };
  }
  // From the keyboard: the rows that stand out.
  const ranked = grid.names
    .map((label, index) => ({ label, value: valueOf(index, column) }))
    .filter((each) => !Number.isNaN(each.value))
    .sort((a, b) => b.value - a.value);
  return {
    x: at,
    heading,
    rows: ranked
      .slice(0, 3)
      .map(({ label, value }) => ({ run: null, sign: null, label, value: reading(value, 'share'), at: null })),
  };
}

function tableOf(grid: HeatGrid, valueOf: (row: number, column: number) => number): TableData {
  const columns = evenly(grid.steps.length, 12);
  return {
    columns: [
      { label: text.tableLinear(), numeric: false },
      ...columns.map((column) => ({
        label: `${text.tableStep()} ${reading(grid.steps[column] ?? 0, 'step')}`,
        numeric: true,
      })),
    ],
    rows: evenly(grid.names.length, 10 * TABLE_ROWS).map((row) => [
      grid.names[row] ?? '',
      ...columns.map((column) => reading(valueOf(row, column), 'share')),
    ]),
    total: grid.names.length,
  };
}
