// lrqat train FILE
import path from 'node:path';
import { findNative, findTrainer } from '../../launch';
import { createRun, runsFolderFor } from '../../runs';
import { shortPath, type Context, type RunsOption } from '../context';
import { readExperiment, requireExperiment } from '../experiment-input';
import { runSession, type SessionOptions } from '../run-session';

export interface TrainOptions extends SessionOptions, RunsOption {
  readonly set: readonly string[];
}

export async function train(file: string, options: TrainOptions, context: Context): Promise<number> {
  const absolute = path.resolve(context.folder, file);
  const override = options.runs === undefined ? undefined : path.resolve(context.folder, options.runs);
  const runsFolder = runsFolderFor(absolute, override);
  const experiment = requireExperiment(await readExperiment(file, options.set, runsFolder, context), file, context);
  // Before there is a run directory: what is missing here has nothing to do with the run.
  findNative();
  if (options.foreground !== true) findTrainer();
  const run = await createRun({ runsFolder, experiment, experimentFile: absolute, command: context.command });
  if (options.json === true) {
    context.output.line(JSON.stringify({ type: 'run', name: run.name, directory: run.directory }));
  } else if (options.detach !== true) {
    context.output.line(`${experiment.name}  ${context.output.paint('dim', shortPath(context, run.directory))}`);
  }
  return runSession(run.directory, 'spawn', options, context);
}
