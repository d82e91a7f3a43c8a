// How fast this machine trains, for estimates.
import {
  guessedCalibration,
  guessedGpuCalibration,
  planRun,
  type Calibration,
  type Experiment,
  type Machine,
} from '../experiment';
import type { ModelShape } from '../formats';
import { measureSpeed } from '../launch';
import type { Context } from './context';

/** Measured by some steps of the run itself, in a few seconds. */
export async function calibrate(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  { messages }: Context,
): Promise<Calibration> {
  const measured = await measureSpeed(experiment);
  if (measured.ok) return measured.rates;
  messages.line(`note: the speed of this machine could not be measured: ${measured.reason}`);
  const { compute } = planRun(experiment, shape, machine);
  if (machine.gpu !== undefined) return guessedGpuCalibration(machine.gpu, compute);
  return guessedCalibration({ isa: 'avx2', bf16: 'none', cores: machine.cores, compute });
}
