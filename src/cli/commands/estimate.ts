// lrqat estimate FILE
import path from 'node:path';
import { estimate, formatEstimate } from '../../experiment';
import { runsFolderFor } from '../../runs';
import { calibrate } from '../calibration';
import type { Context } from '../context';
import { EXIT } from '../exit-codes';
import { worldFor } from '../world';
import { readExperiment, requireExperiment } from '../experiment-input';
import { planSweep, sweepLines } from '../sweep-plan';

export interface EstimateOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
}

export async function estimateRun(file: string, options: EstimateOptions, context: Context): Promise<number> {
  const runsFolder = runsFolderFor(path.resolve(context.folder, file));
  const input = await readExperiment(file, options.set, runsFolder, context, 'model');
  const experiment = requireExperiment(input, file, context);
  const world = input.world ?? (await worldFor(input.file, runsFolder, experiment.device));
  if (input.sweep !== undefined) {
    const plan = await planSweep(input.sweep, world, context);
    if (options.json === true) context.output.line(JSON.stringify(plan, null, 2));
    else sweepLines(plan, context.output).forEach((line) => context.output.line(line));
    return EXIT.ok;
  }
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
