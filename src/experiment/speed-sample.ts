// What of a run is tried for a moment to find how fast the whole will be: steps of the same model and settings, with fewer blocks
// where all of them would take long or much memory. Costs grow evenly with the blocks, and nothing else is changed.

import type { ModelShape } from '../formats/model-shape';
import { secondsOf, type Calibration } from './calibration';
import { evaluationCost, trainingStepCost } from './cost';
import { layoutOf, planRun, type Machine, type RunPlan } from './planner';
import type { Experiment } from './schema';
import { isTrained } from './start';

export interface SpeedSample {
  readonly shape: ModelShape;
  readonly plan: RunPlan;
  /** Of one step. */
  readonly microBatches: number;
}

/** By a guess of the speed: of a micro-batch that is cut no further, of one that is not tried, and of a step. */
const QUICK_SECONDS = 0.5;
const TOO_SLOW_SECONDS = 4;
const STEP_SECONDS = 0.5;
/** Part of the memory that the run may take. */
const MEMORY_SHARE = 0.25;

/** @param guess good to a factor of two
 *  @returns null: even one block would take too long, or too much memory */
export function speedSample(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  guess: Calibration,
): SpeedSample | null {
  const whole = planRun(experiment, shape, machine);
  const { compute, threads, activationCheckpointing, rebuiltWeights, lanes } = whole;
  for (let layers = shape.layers; ; layers = Math.ceil(layers / 2)) {
    const fewer = { ...shape, layers };
    const keptBlocks = Math.max(1, Math.round((whole.keptBlocks * layers) / shape.layers));
    const choices = { compute, threads, activationCheckpointing, keptBlocks, rebuiltWeights, lanes };
    const plan = planRun(experiment, fewer, machine, choices);
    const layout = layoutOf(plan.input);
    const { batchSize, microBatchSize } = experiment.training;
    const cost = isTrained(experiment) ? trainingStepCost(layout, microBatchSize) : evaluationCost(layout);
    const seconds = secondsOf(cost, guess);
    const isSmall = plan.memory.total <= whole.memoryLimit * MEMORY_SHARE;
    if (isSmall && seconds <= (layers === 1 ? TOO_SLOW_SECONDS : QUICK_SECONDS)) {
      const most = Math.max(1, Math.floor(STEP_SECONDS / seconds));
      return { shape: fewer, plan, microBatches: Math.min(batchSize / microBatchSize, most) };
    }
    if (layers === 1) return null;
  }
}
