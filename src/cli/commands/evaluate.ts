// lrqat evaluate RUN|MODEL --data FILE
import path from 'node:path';
import { showNumber } from '../../compare';
import { formatSeconds } from '../../experiment';
import { findRun } from '../../runs';
import { systemErrorCode, UserError } from '../../errors';
import { existsSync } from 'node:fs';
import type { Evaluation, EvaluateProgress } from '../../trainer/evaluate';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { progressLine } from '../progress-line';
import { renderTable } from '../table';

export interface EvaluateOptions extends RunsOption {
  readonly data: readonly string[];
  readonly sequenceLength?: number;
  readonly device?: string;
  readonly field?: string;
  readonly wikitext?: boolean;
  readonly json?: boolean;
}

export async function evaluate(target: string, options: EvaluateOptions, context: Context): Promise<number> {
  const subject = subjectOf(target, options, context);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  const progress = progressLine(context.messages, process.stderr);
  try {
    // Only here: no other command needs the engine in its process.
    const { evaluateModel } = await import('../../trainer/evaluate');
    const evaluation = await evaluateModel({
      ...subject,
      data: options.data.map((pattern) => path.resolve(context.folder, pattern)),
      kind: options.wikitext === true ? 'wikitext' : 'text',
      ...(options.device === undefined ? {} : { device: options.device }),
      ...(options.field === undefined ? {} : { field: options.field }),
      ...(options.sequenceLength === undefined ? {} : { sequenceLength: options.sequenceLength }),
      signal: interrupt.signal,
      onProgress: ({ phase, done, total }: EvaluateProgress) => progress.show(phase, done, total),
    });
    progress.close();
    report(evaluation, options, context);
    return EXIT.ok;
  } catch (error) {
    if (interrupt.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    progress.close();
    process.off('SIGINT', onInterrupt);
  }
}

/** A run where one is meant, else a model: a folder with a config.json, or the id of a cached one. */
function subjectOf(target: string, options: RunsOption, context: Context): { run: string } | { model: string } {
  const folder = path.resolve(context.folder, target);
  if (existsSync(path.join(folder, 'config.json'))) return { model: folder };
  try {
    return { run: findRun(target, runsFolderOf(context, options)) };
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'NoSuchRun') throw error;
    if (/^[\w.-]+\/[\w.@-]+$/.test(target)) return { model: target };
    throw new UserError('NoSuchRun', `${target}: neither a run nor a model folder`, {
      hint: `${error.hint ?? ''} A model folder has a config.json.`.trim(),
      cause: systemErrorCode(error) ?? error,
    });
  }
}

function report(evaluation: Evaluation, options: EvaluateOptions, { output }: Context): void {
  if (options.json === true) {
    output.line(JSON.stringify(evaluation, null, 2));
    return;
  }
  const { forms, sequenceLength, step, compute, threads } = evaluation;
  const columns = [
    { title: 'weights' },
    { title: 'perplexity', align: 'right' as const },
    { title: 'loss', align: 'right' as const },
    { title: 'tokens', align: 'right' as const },
    { title: 'time', align: 'right' as const },
  ];
  const rows = forms.map((form) => [
    form.form === 'trained' && step !== null ? `trained (step ${String(step)})` : form.form,
    showNumber(form.perplexity, 'perplexity'),
    showNumber(form.loss, 'nats'),
    String(form.tokens),
    formatSeconds(form.seconds),
  ]);
  const header = (text: string): string => output.paint('bold', text);
  for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
  output.line(`sequences of ${String(sequenceLength)} tokens, ${compute}, ${String(threads)} threads`);
}
