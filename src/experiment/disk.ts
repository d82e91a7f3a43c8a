// What a run writes.

import type { LinearQuantization } from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';
import { sumOf } from './cost';
import { teacherBytes } from './distillation';
import { trainedFloats } from './float-groups';
import { elementsOf, floatParameters } from './float-parameters';
import { allTrainedNumbers } from './memory-layout';
import {
  codeBits,
  mergedBytes,
  packedRowBytes,
  quantizedLinears,
  scaleCount,
  zeroPointCount,
} from './quantized-linears';
import type { Experiment } from './schema';
import { resolveActivations } from './activations';
import { isTrained, startOf } from './start';

/** Headers, trainer.json and the blocks of the file system, a checkpoint. */
const CHECKPOINT_EXTRA = 256 * 1024;

export interface DiskPlan {
  /** One checkpoint: all that is trained and its two moments, float32. */
  readonly checkpoint: number;
  /** Most checkpoints that lie there at once: those kept, the best, and the one being written. */
  readonly checkpoints: number;
  /** Scales and zero points of the range search, written once; of another start Φ0 as well. */
  readonly base: number;
  /** Merged integers, scales and zero points, and in float32 what was trained beside the linears. */
  readonly merged: number;
  /** What distillation keeps of the float model until the run is finished; where the amount of text is not known, the most it can
   *  be. */
  readonly teacher: number;
  readonly total: number;
}

export function planDisk(
  experiment: Experiment,
  shape: ModelShape,
  linears: Readonly<Record<string, LinearQuantization | null>>,
  trainingSequences?: number,
): DiskPlan {
  const quantized = quantizedLinears({ shape, linears });
  const floats = trainedFloats(experiment, shape);
  const trained = allTrainedNumbers({
    shape,
    linears,
    trainedFloats: floats,
    activations: resolveActivations(experiment),
  });
  const training = isTrained(experiment);
  const checkpoint = training ? trained * 4 * 3 + CHECKPOINT_EXTRA : 0;
  const checkpoints = training ? experiment.checkpoint.keep + 2 : 0;
  const start = startOf(experiment);
  const factors =
    (start?.lowRank ?? null) === null
      ? 0
      : sumOf(quantized, ({ spec, outputs, inputs }) => spec.rank * (outputs + inputs) * 4);
  const phi0 =
    start === null
      ? 0
      : sumOf(quantized, ({ spec, outputs, inputs }) => outputs * packedRowBytes(codeBits(spec), inputs));
  const base = phi0 + factors + sumOf(quantized, (linear) => (scaleCount(linear) + zeroPointCount(linear)) * 4);
  const merged = sumOf(quantized, mergedBytes) + sumOf(floatParameters(shape, floats), elementsOf) * 4;
  const teacher = teacherBytes(experiment, shape, trainingSequences);
  const total = checkpoint * checkpoints + base + merged + teacher;
  return { checkpoint, checkpoints, base, merged, teacher, total };
}
