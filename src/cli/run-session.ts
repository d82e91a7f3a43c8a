// Starting a trainer on a run directory and staying with it to the end: what `train` and `resume` share.
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { messageOf } from '../errors';
import { spawnTrainer } from '../launch';
import { describeFailure, isEnded, readResult, readState, recordEnd, RunReader, sendControl } from '../runs';
import { shortPath, type Context } from './context';
import { EXIT, exitCodeFor } from './exit-codes';
import { followRun, lastLogLines, type FollowEnd, type Trainer } from './follow-run';
import { keepQueueGoing } from './keep-queue';
import { stopOnInterrupt } from './interrupt';
import { resultReport } from './report';
import { viewFor, type RunView } from './views';

export interface SessionOptions {
  readonly json?: boolean;
  readonly foreground?: boolean;
  readonly detach?: boolean;
}

/** How the trainer comes to be: a new one, one that works already, or one that is paused and is to go on. */
export type Start = 'spawn' | 'attach' | 'unpause';

/** Runs a trainer and shows what it does.
 *  @returns the exit code */
export async function runSession(
  runDirectory: string,
  start: Start,
  options: SessionOptions,
  context: Context,
): Promise<number> {
  if (options.detach === true && options.foreground !== true) {
    if (start === 'spawn' && (await spawnOrRecord(runDirectory)) === null) {
      const end = await readState(runDirectory);
      await reportEnd(runDirectory, end, options, context);
      return exitCodeOf(end);
    }
    if (start === 'unpause') await sendControl(runDirectory, 'resume');
    announceDetached(runDirectory, options, context);
    return EXIT.ok;
  }
  const { output, messages, stream } = context;
  const view = viewFor({ output, messages, stream, json: options.json === true });
  const foreground = start === 'spawn' && options.foreground === true;
  const interrupts = stopOnInterrupt(runDirectory, view, foreground);
  const onTerminate = (): void => {
    view.close();
    if (!foreground)
      messages.line(`\nlrqat ends; ${path.basename(runDirectory)} goes on (lrqat show --follow, lrqat stop)`);
    process.exit(EXIT.terminated);
  };
  if (!foreground) process.once('SIGTERM', onTerminate);
  let end: FollowEnd;
  try {
    const reader = new RunReader(runDirectory);
    // First, so that nothing that comes of this command counts as the past.
    view.begin((await reader.poll()).events);
    const trainer = start === 'spawn' ? await startTrainer(runDirectory, foreground) : null;
    if (start === 'unpause') await sendControl(runDirectory, 'resume');
    end = await followRun(reader, view, trainer);
    await interrupts.settled();
    // A trainer that had to be killed looks crashed until that is done.
    if (end.state === 'crashed') end = await readState(runDirectory);
  } finally {
    view.close();
    interrupts.dispose();
    process.off('SIGTERM', onTerminate);
  }
  // A trainer of its own has left its queue to a process; one in here has ended with this command.
  if (foreground && interrupts.count() === 0) await keepQueueGoing(path.dirname(runDirectory), context);
  await reportEnd(runDirectory, end, options, context);
  return interrupts.count() > 0 && end.state !== 'finished' ? EXIT.interrupted : exitCodeOf(end);
}

async function startTrainer(runDirectory: string, foreground: boolean): Promise<Trainer | null> {
  if (!foreground) {
    const child = await spawnOrRecord(runDirectory);
    return child === null ? null : { ended: endOf(child) };
  }
  // Only here: no other command needs the trainer's code in its process.
  const { runTrainer } = await import('../trainer');
  const stop = new AbortController();
  process.once('SIGTERM', () => stop.abort());
  const ended = runTrainer(runDirectory, { signal: stop.signal }).then(
    (state) => `state ${state}`,
    (error: unknown) => `the error: ${messageOf(error)}`,
  );
  return { ended };
}

/** A trainer that does not come up leaves a run that says why.
 *  @returns null when the run has failed with that
 *  @throws UserError when it is another's run by now */
async function spawnOrRecord(runDirectory: string): Promise<ChildProcess | null> {
  try {
    return await spawnTrainer(runDirectory);
  } catch (error) {
    if (!isEnded((await readState(runDirectory)).state)) {
      await recordEnd(runDirectory, 'failed', describeFailure(error, runDirectory));
    }
    return null;
  }
}

function endOf(child: ChildProcess): Promise<string> {
  const describe = (code: number | null, signal: NodeJS.Signals | null): string =>
    signal ?? `exit code ${String(code)}`;
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve(describe(child.exitCode, child.signalCode));
  }
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(describe(code, signal))));
}

function announceDetached(runDirectory: string, options: SessionOptions, { output }: Context): void {
  const name = path.basename(runDirectory);
  if (options.json === true) output.line(JSON.stringify({ type: 'run', name, directory: runDirectory }));
  else output.line(`${runDirectory}\n  follow it: lrqat show ${name} --follow`);
}

/** Last words: the four-way table, or why there is none and what can be done. */
export async function reportEnd(
  runDirectory: string,
  { state, status }: FollowEnd,
  options: { readonly json?: boolean },
  context: Context,
): Promise<void> {
  const { output, messages } = context;
  const name = path.basename(runDirectory);
  const result = state === 'finished' ? await readResult(runDirectory) : null;
  if (options.json === true) {
    output.line(JSON.stringify({ type: 'result', name, directory: runDirectory, state, error: status.error, result }));
    return;
  }
  output.line();
  if (state === 'finished' && result !== null) {
    for (const line of resultReport(result, status, output)) output.line(line);
  } else if (state === 'stopped') {
    const at = `step ${String(status.step)} of ${String(status.totalSteps)}`;
    const saved =
      status.lastCheckpoint === null
        ? 'no checkpoint: a resume starts again'
        : `saved at step ${String(status.lastCheckpoint)}`;
    output.line(`stopped at ${at}, ${saved}`);
    output.line(`  go on: lrqat resume ${name}`);
  } else if (state === 'failed') {
    messages.line(`${messages.paint('red', 'failed:')} ${status.error?.message ?? 'no reason was given'}`);
    if (status.error?.hint !== undefined) messages.line(`hint: ${status.error.hint}`);
  } else if (state === 'crashed') {
    messages.line(`${messages.paint('red', 'crashed:')} the trainer has gone without a word; the end of its log:`);
    messages.line(await lastLogLines(runDirectory, 10));
    messages.line(`hint: lrqat resume ${name} goes on from the last checkpoint`);
  }
  output.line(`run: ${shortPath(context, runDirectory)}`);
}

function exitCodeOf({ state, status }: FollowEnd): number {
  switch (state) {
    case 'finished':
      return EXIT.ok;
    case 'stopped':
      return EXIT.stopped;
    case 'failed':
      return status.error !== null && exitCodeFor(status.error.code) === EXIT.machine ? EXIT.machine : EXIT.failed;
    case 'crashed':
    case 'stale':
    case 'queued':
    case 'starting':
    case 'running':
    case 'paused':
    case 'stopping':
      return EXIT.failed;
  }
}

/** The view for a run that is only watched. */
export function watchView(options: { readonly json?: boolean }, { output, messages, stream }: Context): RunView {
  return viewFor({ output, messages, stream, json: options.json === true });
}
