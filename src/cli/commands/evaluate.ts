// lrqat evaluate RUN|MODEL --data FILE | --task NAME=FILE
import path from 'node:path';
import { showNumber } from '../../compare';
import { formatSeconds } from '../../experiment';
import { findRun } from '../../runs';
import { systemErrorCode, UserError } from '../../errors';
import { existsSync } from 'node:fs';
import type { WeightForm } from '../../../native/binding/addon';
import type { Evaluation, EvaluateProgress } from '../../trainer/evaluate';
import { isTaskName, TASK_NAMES, TASKS, type TaskName } from '../../trainer/tasks/definitions';
import type { TaskEvaluation } from '../../trainer/tasks/evaluate-tasks';
import type { Accuracy } from '../../trainer/tasks/score';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { renderTable } from '../table';
import { workHere } from '../work-here';

export interface EvaluateOptions extends RunsOption {
  readonly data?: readonly string[];
  readonly task?: readonly string[];
  readonly limit?: number;
  readonly addBos?: boolean;
  readonly form?: readonly WeightForm[];
  readonly sequenceLength?: number;
  readonly device?: string;
  readonly field?: string;
  readonly wikitext?: boolean;
  readonly json?: boolean;
}

export async function evaluate(target: string, options: EvaluateOptions, context: Context): Promise<number> {
  const subject = subjectOf(target, options, context);
  const tasks = tasksOf(options, context);
  return workHere(context, async ({ signal, progress }) => {
    const common = {
      ...subject,
      ...(options.device === undefined ? {} : { device: options.device }),
      ...(options.form === undefined ? {} : { forms: options.form }),
      ...(options.sequenceLength === undefined ? {} : { sequenceLength: options.sequenceLength }),
      signal,
      onProgress: ({ phase, done, total }: EvaluateProgress) => progress.show(phase, done, total),
    };
    // Only here: no other command needs the engine in its process.
    if (tasks.length > 0) {
      const { evaluateTasks } = await import('../../trainer/tasks/evaluate-tasks');
      const evaluation = await evaluateTasks({
        ...common,
        tasks,
        addBos: options.addBos === true,
        ...(options.limit === undefined ? {} : { limit: options.limit }),
      });
      progress.close();
      reportTasks(evaluation, options, context);
    } else {
      const { evaluateModel } = await import('../../trainer/evaluate');
      const evaluation = await evaluateModel({
        ...common,
        data: (options.data ?? []).map((pattern) => path.resolve(context.folder, pattern)),
        kind: options.wikitext === true ? 'wikitext' : 'text',
        ...(options.field === undefined ? {} : { field: options.field }),
      });
      progress.close();
      report(evaluation, options, context);
    }
  });
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

/** @throws UserError Usage */
function tasksOf({ data, task = [] }: EvaluateOptions, context: Context): { task: TaskName; file: string }[] {
  if ((data === undefined) === (task.length === 0)) {
    throw new UserError('Usage', 'evaluate needs either --data or --task', {
      hint: `--data FILE measures perplexity, --task NAME=FILE a zero-shot task (${TASK_NAMES.join(', ')}).`,
    });
  }
  return task.map((text) => {
    const at = text.indexOf('=');
    const name = text.slice(0, at);
    if (at > 0 && isTaskName(name) && at + 1 < text.length) {
      return { task: name, file: path.resolve(context.folder, text.slice(at + 1)) };
    }
    throw new UserError('Usage', `--task ${text}: not NAME=FILE with a known name`, {
      hint: `Names: ${TASK_NAMES.join(', ')}.`,
    });
  });
}

const formTitle = (form: WeightForm, step: number | null): string =>
  form === 'trained' && step !== null ? `trained (step ${String(step)})` : form;

function reportTasks(evaluation: TaskEvaluation, options: EvaluateOptions, { output }: Context): void {
  if (options.json === true) {
    output.line(JSON.stringify(evaluation, null, 2));
    return;
  }
  const { forms, step, compute, threads } = evaluation;
  const columns = [
    { title: 'weights' },
    { title: 'task' },
    { title: 'questions', align: 'right' as const },
    { title: 'acc', align: 'right' as const },
    { title: 'acc_norm', align: 'right' as const },
  ];
  const rows = forms.flatMap(({ form, tasks, average }) => [
    ...tasks.map((score) => [
      formTitle(form, step),
      TASKS[score.task].title,
      String(score.questions),
      showAccuracy(score.acc),
      showAccuracy(score.accNorm),
    ]),
    ...(average === null ? [] : [[formTitle(form, step), 'average', '', showAccuracy(average), '']]),
  ]);
  const header = (text: string): string => output.paint('bold', text);
  for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
  output.line(`percent ± standard error; ${compute}, ${String(threads)} threads`);
}

const percent = (share: number): string => (share * 100).toFixed(2);

function showAccuracy(accuracy: Accuracy | null): string {
  if (accuracy === null) return '–';
  const { value, standardError } = accuracy;
  return standardError === null ? percent(value) : `${percent(value)} ± ${percent(standardError)}`;
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
    formTitle(form.form, step),
    showNumber(form.perplexity, 'perplexity'),
    showNumber(form.loss, 'nats'),
    String(form.tokens),
    formatSeconds(form.seconds),
  ]);
  const header = (text: string): string => output.paint('bold', text);
  for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
  output.line(`sequences of ${String(sequenceLength)} tokens, ${compute}, ${String(threads)} threads`);
}
