// lrqat pause | stop | checkpoint RUN
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../errors';
import {
  cancelQueued,
  findRun,
  isEnded,
  latestComplete,
  readState,
  sendControl,
  stopNow,
  waitForAcknowledgement,
  type DerivedState,
} from '../../runs';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';

export interface ControlOptions extends RunsOption {
  /** Seconds to wait for the trainer. */
  readonly timeout: number;
}

export async function pause(name: string, options: ControlOptions, context: Context): Promise<number> {
  const { directory, title, state } = await activeRun(name, options, context, 'pause');
  if (state === 'paused') {
    context.output.line(`${title} is paused already`);
    return EXIT.ok;
  }
  const sequence = await sendControl(directory, 'pause');
  const done = await waitForAcknowledgement(directory, sequence, options.timeout * 1000);
  const { status } = await readState(directory);
  if (!done) return noAnswer(`${title} was told to pause; its trainer has not answered yet`, context);
  context.output.line(`${title} is paused at step ${String(status.step)}; go on: lrqat resume ${title}`);
  return EXIT.ok;
}

export async function checkpoint(name: string, options: ControlOptions, context: Context): Promise<number> {
  const { directory, title } = await activeRun(name, options, context, 'save');
  const sequence = await sendControl(directory, 'checkpoint');
  const done = await waitForAcknowledgement(directory, sequence, options.timeout * 1000);
  const saved = await latestComplete(directory);
  if (!done || saved === null) {
    return noAnswer(`${title} was told to write a checkpoint; its trainer has not answered yet`, context);
  }
  context.output.line(`${title}: checkpoint of step ${String(saved.step)} written`);
  return EXIT.ok;
}

/** The message stays: a busy trainer acts on it later. */
function noAnswer(text: string, { messages }: Context): number {
  messages.line(text);
  return EXIT.failed;
}

export interface StopOptions extends ControlOptions {
  readonly now?: boolean;
}

export async function stop(name: string, options: StopOptions, context: Context): Promise<number> {
  const { directory, title, state: found } = await activeRun(name, options, context, 'stop');
  if (found === 'queued' && (await cancelQueued(directory))) {
    context.output.line(`${title} is out of the queue (lrqat resume or lrqat queue add take it up again)`);
    return EXIT.ok;
  }
  if (options.now === true) await stopNow(directory);
  else await sendControl(directory, 'stop');
  for (const deadline = Date.now() + options.timeout * 1000; ;) {
    const { state, status } = await readState(directory);
    if (isEnded(state)) {
      const saved = (await latestComplete(directory))?.step;
      const where = saved === undefined ? 'nothing was saved' : `saved at step ${String(saved)}`;
      context.output.line(
        state === 'stopped'
          ? `${title} is stopped at step ${String(status.step)} (${where}); go on: lrqat resume ${title}`
          : `${title} is ${state}`,
      );
      return EXIT.ok;
    }
    if (Date.now() >= deadline) {
      return noAnswer(`${title} was told to stop; its trainer has not ended yet`, context);
    }
    await sleep(100);
  }
}

/** A run with a trainer that can hear. */
async function activeRun(
  name: string,
  options: ControlOptions,
  context: Context,
  verb: string,
): Promise<{ readonly directory: string; readonly title: string; readonly state: DerivedState }> {
  const directory = findRun(name, runsFolderOf(context, options));
  const { state } = await readState(directory);
  const title = path.basename(directory);
  if (isEnded(state) && state !== 'stale') {
    throw new UserError('RunNotActive', `${title} is ${state}: there is nothing to ${verb}`, {
      ...(state === 'finished' ? {} : { hint: `Start it again: lrqat resume ${title}` }),
    });
  }
  if (state === 'queued' && verb !== 'stop') {
    throw new UserError('RunNotActive', `${title} waits in the queue: there is nothing to ${verb}`, {
      hint: 'lrqat stop takes it out of the queue, lrqat queue move changes its place.',
    });
  }
  return { directory, title, state };
}
