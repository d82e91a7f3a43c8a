// The matrix products of a training step, for measuring how fast this machine does them.
import type { Experiment } from '../../experiment';
import { linearSize, LINEAR_NAMES, type ModelShape } from '../../formats/model-shape';
import type { RateRequest } from '../../launch/calibrate';

/** Products larger than this many rows only take longer to measure. */
const MEASURED_ROWS = 1024;

/** Forward products of one decoder block, [rows, inner] · [inner, columns]. */
export function stepProducts({ training, data }: Experiment, shape: ModelShape): RateRequest['products'] {
  const rows = Math.min(MEASURED_ROWS, training.microBatchSize * data.sequenceLength);
  return LINEAR_NAMES.map((name) => {
    const { outputs, inputs } = linearSize(shape, name);
    return { rows, columns: outputs, inner: inputs };
  });
}
