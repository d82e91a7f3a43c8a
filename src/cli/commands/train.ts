// lrqat train FILE
import path from 'node:path';
import { UserError } from '../../errors';
import { findNative, findTrainer } from '../../launch';
import { createRun, runsFolderFor } from '../../runs';
import { shortPath, type Context, type RunsOption } from '../context';
import { queueInput } from '../queue-runs';
import { readExperiment, requireExperiment } from '../experiment-input';
import { runSession, type SessionOptions } from '../run-session';

export interface TrainOptions extends SessionOptions, RunsOption {
  readonly set: readonly string[];
  readonly yes?: boolean;
  readonly parallel?: number;
}

export async function train(file: string, options: TrainOptions, context: Context): Promise<number> {
  const absolute = path.resolve(context.folder, file);
  const override = options.runs === undefined ? undefined : path.resolve(context.folder, options.runs);
  const runsFolder = runsFolderFor(absolute, override);
  const input = await readExperiment(file, options.set, runsFolder, context);
  const experiment = requireExperiment(input, file, context);
  if (input.sweep !== undefined) {
    if (options.foreground === true) {
      throw new UserError('SweepForeground', `${file} has a sweep, and one process trains one run`, {
        hint: `Queue the runs and stay until they are done: lrqat train ${file} --yes && lrqat queue wait`,
      });
    }
    return queueInput(input, experiment, runsFolder, options, context);
  }
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
