// How fast this machine multiplies, for estimates.
import {
  calibrationFromGemm,
  guessedCalibration,
  guessedGpuCalibration,
  planRun,
  type Calibration,
  type Experiment,
  type Machine,
} from '../experiment';
import { linearSize, LINEAR_NAMES, type ModelShape } from '../formats';
import { measureRates } from '../launch';
import type { Context } from './context';

/** Products larger than this many rows only take longer to measure. */
const MEASURED_ROWS = 1024;

/** Measured at the shapes of a step, in well under a second on small models. */
export async function calibrate(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  { messages }: Context,
): Promise<Calibration> {
  const { compute, threads } = planRun(experiment, shape, machine);
  // The engine on a GPU has no way to time its products alone.
  if (machine.gpu !== undefined) return guessedGpuCalibration(machine.gpu, compute);
  const rows = Math.min(MEASURED_ROWS, experiment.training.microBatchSize * experiment.data.sequenceLength);
  const products = LINEAR_NAMES.map((name) => {
    const { outputs, inputs } = linearSize(shape, name);
    return { rows, columns: outputs, inner: inputs };
  });
  const measured = await measureRates({ products, compute, threads });
  if (measured.ok) return calibrationFromGemm(measured.rates.gemm, measured.rates.bytes);
  messages.line(`note: the speed of this machine could not be measured: ${measured.reason}`);
  return guessedCalibration({ isa: 'avx2', bf16: 'none', cores: machine.cores, compute });
}
