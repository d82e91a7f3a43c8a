// From a checked experiment, or all of a sweep, to queued runs.
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { UserError } from '../errors';
import { formatBytes, type Experiment } from '../experiment';
import { findNative, findTrainer, queueDevices } from '../launch';
import { queueRuns, readQueue, setParallel } from '../runs';
import { shortPath, type Context } from './context';
import type { ExperimentInput } from './experiment-input';
import { EXIT } from './exit-codes';
import { keepQueueGoing } from './keep-queue';
import { planSweep, sweepLines, sweepSum } from './sweep-plan';
import { probe, worldFor } from './world';

export interface QueueRunsOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
  readonly yes?: boolean;
  readonly parallel?: number;
}

/** Queues what a file stands for, after a question where that is several runs, and starts what there is room for.
 *  @param experiment of a sweep the first
 *  @returns the exit code */
export async function queueInput(
  input: ExperimentInput,
  experiment: Experiment,
  runsFolder: string,
  options: QueueRunsOptions,
  context: Context,
): Promise<number> {
  const { file } = input;
  // Before there is a run directory: what is missing here has nothing to do with the runs.
  findNative();
  findTrainer();
  if (input.sweep !== undefined) {
    const world = input.world ?? (await worldFor(file, runsFolder, experiment.device));
    const plan = await planSweep(input.sweep, world, context);
    if (!plan.fits) {
      throw new UserError(
        'DiskFull',
        `${path.basename(file)}: the runs write up to ${formatBytes(plan.disk)} together, ${formatBytes(plan.freeDisk ?? 0)} are free`,
        { hint: 'Lower checkpoint.keep, list fewer values, or choose another folder with --runs.' },
      );
    }
    const shown = options.json === true ? context.messages : context.output;
    for (const line of sweepLines(plan, shown)) shown.line(line);
    if (!(await isConfirmed(sweepSum(plan), options, context))) {
      shown.line('nothing was started');
      return EXIT.interrupted;
    }
  }
  const runs = input.sweep ?? [{ experiment, values: null }];
  const { command } = context;
  const devicesOf = ({ device }: Experiment): Promise<readonly string[]> => queueDevices(device, probe);
  const created = await queueRuns(runs, { runsFolder, experimentFile: file, command, devicesOf });
  if (options.parallel !== undefined) await setParallel(runsFolder, options.parallel);
  for (const { name: run, directory } of created) {
    if (options.json === true) context.output.line(JSON.stringify({ type: 'run', name: run, directory }));
    else context.output.line(shortPath(context, directory));
  }
  await keepQueueGoing(runsFolder, context);
  if (options.json !== true) {
    const { waiting } = await readQueue(runsFolder);
    const more = waiting.length > 0 ? `${String(waiting.length)} waiting` : 'nothing waits';
    context.output.line(`queued: ${more} (lrqat queue lists them, lrqat queue wait stays to the end)`);
  }
  return EXIT.ok;
}

async function isConfirmed(sum: string, options: QueueRunsOptions, { output }: Context): Promise<boolean> {
  if (options.yes === true) return true;
  // Without a person to ask, only the option says that so many runs are meant.
  if (!process.stdin.isTTY || !output.interactive || options.json === true) {
    throw new UserError('NotConfirmed', `the sweep has ${sum}; nothing was started`, {
      hint: 'Add --yes to start it without a question.',
    });
  }
  const question = createInterface({ input: process.stdin, output: process.stdout });
  try {
    // Ctrl-C and the end of the input are a no.
    const closed = new Promise<string>((resolve) => question.once('close', () => resolve('')));
    const answer = await Promise.race([question.question('Queue them? [y/N] '), closed]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    question.close();
  }
}
