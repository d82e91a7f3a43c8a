// dist/trainer.js RUNDIR [--slot ID]: the detached trainer process. Standard output and error go to the run's log.txt.
// dist/trainer.js --queue RUNSFOLDER --after PID: starts what waits in the queue once the trainer PID has gone.
// dist/trainer.js --measure: reads an experiment from standard input and prints how fast this machine would train it.

import path from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { messageOf, UserError } from '../errors';
import { continueQueue, leaveQueueToChild } from '../launch/advance-queue';
import { runTrainer, type ExitState } from './index';
import { measureSpeed } from './measure-speed';

const EXIT_CODES: Readonly<Record<ExitState, number>> = { finished: 0, stopped: 0, failed: 1 };
/** Wrong use, or a run that another trainer works on. */
const REFUSED = 2;
const INTERNAL = 70;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      slot: { type: 'string' },
      queue: { type: 'string' },
      after: { type: 'string' },
      measure: { type: 'boolean' },
    },
  });
  if (values.measure === true) return printSpeed();
  if (values.queue !== undefined) {
    await continueQueue(values.queue, Number(values.after ?? 0));
    return 0;
  }
  const [runDirectory] = positionals;
  if (runDirectory === undefined) {
    console.error('usage: node trainer.js RUN_DIRECTORY');
    return REFUSED;
  }
  return trainRun(runDirectory, values.slot);
}

async function printSpeed(): Promise<number> {
  try {
    const rates = await measureSpeed(await text(process.stdin));
    // Libraries may have printed before, without ending their line.
    console.log(`\n${JSON.stringify(rates)}`);
    return 0;
  } catch (error) {
    console.error(`error: ${messageOf(error)}`);
    return 1;
  }
}

async function trainRun(runDirectory: string, slot: string | undefined): Promise<number> {
  const stop = new AbortController();
  const stopNow = new AbortController();
  const fatal = new AbortController();
  // What escapes every await is a defect: the run fails with it rather than go on in an unknown state.
  process.on('uncaughtException', (error) => {
    console.error(error instanceof Error ? (error.stack ?? error.message) : error);
    if (fatal.signal.aborted) process.exit(INTERNAL);
    fatal.abort(error);
  });
  const onSignal = (): void => {
    if (stop.signal.aborted) stopNow.abort();
    else stop.abort();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, onSignal);
  // The terminal that started us may go; the run stays.
  process.on('SIGHUP', () => undefined);
  try {
    const state = await runTrainer(runDirectory, {
      signal: stop.signal,
      stopNow: stopNow.signal,
      fatal: fatal.signal,
      ...(slot === undefined ? {} : { slot }),
    });
    // A signal mostly ends all that runs here (a shutdown, the end of a job): what waits is started by whoever looks next.
    if (!stop.signal.aborted) await goOnWithQueue(runDirectory);
    return fatal.signal.aborted ? INTERNAL : EXIT_CODES[state];
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    return error instanceof UserError ? REFUSED : 1;
  }
}

/** Nothing about the queue is a reason to call this run anything but what it is. */
async function goOnWithQueue(runDirectory: string): Promise<void> {
  const program = process.argv[1];
  if (program === undefined) return;
  await leaveQueueToChild(path.dirname(path.resolve(runDirectory)), program).catch((error: unknown) => {
    console.error(`the queue was not continued: ${messageOf(error)}`);
  });
}

// The event loop may still hold an engine in mid-call after a defect; nothing is worth waiting for then.
void main().then((code) => process.exit(code));
