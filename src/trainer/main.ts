// dist/trainer.js RUNDIR: the detached trainer process. Standard output and error go to the run's log.txt.

import { UserError } from '../errors';
import { runTrainer, type ExitState } from './index';

const EXIT_CODES: Readonly<Record<ExitState, number>> = { finished: 0, stopped: 0, failed: 1 };
/** Wrong use, or a run that another trainer works on. */
const REFUSED = 2;
const INTERNAL = 70;

async function main(runDirectory: string | undefined): Promise<number> {
  if (runDirectory === undefined) {
    console.error('usage: node trainer.js RUN_DIRECTORY');
    return REFUSED;
  }
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
    });
    return fatal.signal.aborted ? INTERNAL : EXIT_CODES[state];
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    return error instanceof UserError ? REFUSED : 1;
  }
}

// The event loop may still hold an engine in mid-call after a defect; nothing is worth waiting for then.
void main(process.argv[2]).then((code) => process.exit(code));
