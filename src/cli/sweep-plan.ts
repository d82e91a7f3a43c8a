// What a sweep comes to, before it is started: for `train`, `queue add` and `estimate`.
import { formatBytes, formatSeconds, planRuns, type SweepPlan, type SweepRun, type World } from '../experiment';
import type { ModelShape } from '../formats';
import { showNumber } from '../compare';
import { calibrate } from './calibration';
import type { Context } from './context';
import { renderTable } from './table';
import type { Terminal } from './terminal';

/** @param world with the machine of the first run */
export async function planSweep(sweep: readonly SweepRun[], world: World, context: Context): Promise<SweepPlan> {
  const shapes = new Map<string, ModelShape>();
  for (const { experiment } of sweep) {
    const { path } = experiment.model;
    if (!shapes.has(path)) shapes.set(path, (await world.openModel(path)).shape);
  }
  const shapeOf = ({ experiment }: SweepRun): ModelShape => {
    const shape = shapes.get(experiment.model.path);
    if (shape === undefined) throw new Error(`no shape of ${experiment.model.path}`);
    return shape;
  };
  const [first] = sweep;
  if (first === undefined) throw new Error('a sweep has a run');
  const calibration = await calibrate(first.experiment, shapeOf(first), world.machine, context);
  return planRuns(sweep, shapeOf, world.machine, calibration, await world.freeDisk());
}

/** A table of the runs and what they take together. */
export function sweepLines(plan: SweepPlan, output: Terminal): string[] {
  const rows = plan.runs.map(({ name, bitsPerWeight, memory, fits, seconds, disk }) => [
    name,
    showNumber(bitsPerWeight, 'bits'),
    fits ? formatBytes(memory) : `${formatBytes(memory)}, does not fit`,
    seconds === null ? '–' : formatSeconds(seconds),
    formatBytes(disk),
  ]);
  const table = renderTable(
    [
      { title: 'run', shrinkTo: 22 },
      { title: 'bits per weight', align: 'right' },
      { title: 'memory', align: 'right' },
      { title: 'time', align: 'right' },
      { title: 'disk at most', align: 'right' },
    ],
    rows,
    { width: output.width(), header: (text) => output.paint('bold', text) },
  );
  return [...table, '', sweepSum(plan)];
}

/** `6 runs, about 12 min one after the other, up to 80 MB of disk (12 GB free)`. */
export function sweepSum({ runs, seconds, disk, freeDisk }: SweepPlan): string {
  const time = seconds === null ? 'time not known' : `about ${formatSeconds(seconds)}`;
  const free = freeDisk === null ? '' : ` (${formatBytes(freeDisk)} free)`;
  const count = runs.length === 1 ? '1 run' : `${String(runs.length)} runs`;
  return `${count}, ${time}${seconds === null || runs.length === 1 ? '' : ' one after the other'}, up to ${formatBytes(disk)} of disk${free}`;
}
