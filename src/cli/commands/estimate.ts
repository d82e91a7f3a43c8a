// lrqat estimate FILE
import path from 'node:path';
import {
  calibrationFromGemm,
  estimate,
  formatEstimate,
  guessedCalibration,
  planRun,
  type Calibration,
  type Experiment,
  type Machine,
} from '../../experiment';
import { linearSize, LINEAR_NAMES, type ModelShape } from '../../formats';
import { measureRates } from '../../launch';
import { runsFolderFor } from '../../runs';
import type { Context } from '../context';
import { EXIT } from '../exit-codes';
import { worldFor } from '../world';
import { readExperiment, requireExperiment } from '../experiment-input';

export interface EstimateOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** Products larger than this many rows only take longer to measure. */
const MEASURED_ROWS = 1024;

export async function estimateRun(file: string, options: EstimateOptions, context: Context): Promise<number> {
  const runsFolder = runsFolderFor(path.resolve(context.folder, file));
  const input = await readExperiment(file, options.set, runsFolder, context, 'model');
  const experiment = requireExperiment(input, file, context);
  const world = input.world ?? (await worldFor(input.file, runsFolder, experiment.device));
  const { shape } = await world.openModel(experiment.model.path);
  const calibration = await calibrate(experiment, shape, world.machine, context);
  const freeDisk = await world.freeDisk();
  const result = estimate({
    experiment,
    shape,
    machine: world.machine,
    calibration,
    ...(freeDisk === null ? {} : { freeDisk }),
  });
  if (options.json === true) context.output.line(JSON.stringify(result, null, 2));
  else context.output.write(formatEstimate(result));
  return EXIT.ok;
}

/** Measured at the shapes of a step, in well under a second on small models. */
async function calibrate(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  { messages }: Context,
): Promise<Calibration> {
  const { compute, threads } = planRun(experiment, shape, machine);
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
