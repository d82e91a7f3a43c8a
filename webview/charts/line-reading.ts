// Values of a chart of step rows, for tool tip, keyboard and table.
import { reading } from '../shared/format';
import { lowerBound } from '../shared/series/columns';
import { after, nearest } from '../shared/series/thin';
import type { Line, LineChartSpec } from './lines';
import { evenly, TABLE_ROWS } from './picture';
import type { Readout, ReadoutRow, Scene, ShownRun, TableData } from './picture';
import { text } from './strings';
import { placeHeading } from './x-axis';

/** Row of a run nearest to x; −1 where the run has nothing there. */
function rowAt(run: ShownRun, scene: Scene, x: number): number {
  const xs = run.data.x(scene.x);
  const row = nearest(xs, x);
  // Not a value from far away: past its last step a run has none.
  const reach = (scene.axis.max - scene.axis.min) / 50;
  const last = xs.at(-1) ?? NaN;
  return row >= 0 && x <= last + Math.max(reach, last - (xs.at(-2) ?? 0)) ? row : -1;
}

export function readoutAt(spec: LineChartSpec, scene: Scene, lines: readonly Line[], x: number): Readout | null {
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
      run: line.run,
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

export function tableOf(spec: LineChartSpec, scene: Scene, lines: readonly Line[]): TableData {
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
