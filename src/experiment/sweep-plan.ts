// What a sweep will need as a whole. Pure.
import type { ModelShape } from '../formats/model-shape';
import type { Calibration } from './calibration';
import { estimate } from './estimate';
import type { SweepRun } from './parse';
import type { Machine } from './planner';
import { runSeconds } from './run-seconds';

export interface SweepRunPlan {
  readonly name: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** Engine memory, bytes. */
  readonly memory: number;
  readonly fits: boolean;
  /** Training and evaluations, as far as they can be foreseen. null: not known (it computes elsewhere than the runs whose
   *  speed is known). */
  readonly seconds: number | null;
  /** Bytes that it writes at most. */
  readonly disk: number;
  readonly bitsPerWeight: number;
}

export interface SweepPlan {
  readonly runs: readonly SweepRunPlan[];
  /** One run after the other; null: not known. */
  readonly seconds: number | null;
  readonly disk: number;
  /** Free bytes where the runs will lie; null: not known. */
  readonly freeDisk: number | null;
  readonly fits: boolean;
}

/** @param shapeOf sizes of the model of a run */
export function planRuns(
  runs: readonly SweepRun[],
  shapeOf: (run: SweepRun) => ModelShape,
  machine: Machine,
  calibration: Calibration,
  freeDisk: number | null,
): SweepPlan {
  const plans = runs.map((run): SweepRunPlan => {
    const found = estimate({
      experiment: run.experiment,
      shape: shapeOf(run),
      machine,
      calibration,
      withSuggestions: false,
    });
    const isElsewhere =
      machine.device === 'cuda' ? run.experiment.device === 'cpu' : run.experiment.device.startsWith('cuda');
    return {
      name: run.experiment.name,
      values: run.values,
      memory: found.peak,
      fits: found.fits,
      seconds: isElsewhere ? null : runSeconds(found),
      disk: found.disk.total,
      bitsPerWeight: found.bitsPerWeight,
    };
  });
  const disk = plans.reduce((sum, plan) => sum + plan.disk, 0);
  const seconds = plans.reduce<number | null>(
    (sum, plan) => (sum === null || plan.seconds === null ? null : sum + plan.seconds),
    0,
  );
  return { runs: plans, seconds, disk, freeDisk, fits: freeDisk === null || disk <= freeDisk };
}
