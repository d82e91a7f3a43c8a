// lrqat resume RUN: a paused run goes on, one that has ended is started again from its last checkpoint.
import path from 'node:path';
import { UserError } from '../../errors';
import { findNative, findTrainer } from '../../launch';
import { findRun, latestComplete, prepareRestart, readResult, readState } from '../../runs';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { resultReport } from '../report';
import { runSession, type SessionOptions, type Start } from '../run-session';

export interface ResumeOptions extends SessionOptions, RunsOption {}

export async function resume(name: string, options: ResumeOptions, context: Context): Promise<number> {
  const directory = findRun(name, runsFolderOf(context, options));
  const { state, status } = await readState(directory);
  const title = path.basename(directory);
  const say = (text: string): void => (options.json === true ? context.messages : context.output).line(text);
  let start: Start;
  switch (state) {
    case 'finished': {
      say(`${title} is finished: there is nothing to resume`);
      const result = await readResult(directory);
      if (options.json === true)
        context.output.line(JSON.stringify({ type: 'result', name: title, directory, state, result }));
      else if (result !== null)
        resultReport(result, status, context.output).forEach((line) => context.output.line(line));
      return EXIT.ok;
    }
    case 'stopping':
      throw new UserError('RunStopping', `${title} is being stopped`, { hint: 'Try again in a moment.' });
    case 'running':
    case 'starting':
      say(`${title} is running; following it`);
      start = 'attach';
      break;
    case 'paused':
      say(`${title} goes on from step ${String(status.step)}`);
      start = 'unpause';
      break;
    case 'queued':
    case 'stopped':
    case 'failed':
    case 'crashed':
    case 'stale': {
      findNative();
      if (options.foreground !== true) findTrainer();
      await prepareRestart(directory);
      const checkpoint = await latestComplete(directory);
      say(
        checkpoint === null
          ? `${title} has no checkpoint: it starts from the beginning`
          : `${title} resumes from the checkpoint of step ${String(checkpoint.step)} of ${String(status.totalSteps)}`,
      );
      start = 'spawn';
    }
  }
  return runSession(directory, start, options, context);
}
