// lrqat show RUN
import path from 'node:path';
import { showNumber } from '../../compare';
import { activationName, formatBytes, formatCount, formatSeconds, type Experiment } from '../../experiment';
import {
  effectiveEvents,
  findRun,
  listCheckpoints,
  readSummary,
  RunReader,
  runPaths,
  type RunSummary,
} from '../../runs';
import { readJson } from '../../runs/json-file';
import { UserError } from '../../errors';
import { runsFolderOf, shortPath, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { followRun, lastLogLines } from '../follow-run';
import { gpuFacts } from '../gpu-facts';
import { evaluationTable, resultReport } from '../report';
import { keepQueueGoing } from '../keep-queue';
import { reportEnd, watchView } from '../run-session';
import { STATE_STYLE } from '../state-style';

export interface ShowOptions extends RunsOption {
  readonly json?: boolean;
  readonly follow?: boolean;
}

export async function show(name: string, options: ShowOptions, context: Context): Promise<number> {
  const directory = findRun(name, runsFolderOf(context, options));
  await keepQueueGoing(path.dirname(directory), context);
  const summary = readSummary(directory, Date.now());
  if (summary === null) throw new UserError('NotARun', `${directory}: status.json is damaged`);
  if (options.follow === true) return follow(directory, options, context);
  const { events } = await new RunReader(directory).poll();
  const checkpoints = (await listCheckpoints(directory)).filter(({ complete }) => complete).map(({ step }) => step);
  if (options.json === true) {
    const experiment = await readJson(runPaths(directory).experiment);
    const effective = effectiveEvents(events);
    context.output.line(JSON.stringify({ ...summary, checkpoints, experiment, events: effective }, null, 2));
    return EXIT.ok;
  }
  const { output } = context;
  const setting = settingOf(await readJson(runPaths(directory).experiment).catch(() => undefined));
  for (const line of overview(summary, setting, checkpoints, context)) output.line(line);
  if (summary.result !== null) {
    output.line();
    for (const line of resultReport(summary.result, summary.status, output)) output.line(line);
  } else {
    const table = evaluationTable(events, output);
    if (table.length > 0) ['', ...table].forEach((line) => output.line(line));
  }
  if (summary.state === 'crashed') {
    output.line('\nthe end of its log:');
    output.line(await lastLogLines(directory, 10));
  }
  return EXIT.ok;
}

/** Ctrl-C only leaves: the run belongs to whoever has started it. */
async function follow(directory: string, options: ShowOptions, context: Context): Promise<number> {
  const leave = new AbortController();
  const onInterrupt = (): void => leave.abort();
  process.once('SIGINT', onInterrupt);
  const view = watchView(options, context);
  try {
    const reader = new RunReader(directory);
    // A program wants all events; a person who looks in has `show` for the past.
    if (options.json !== true) view.begin((await reader.poll()).events);
    const end = await followRun(reader, view, null, leave.signal);
    view.close();
    if (!leave.signal.aborted) await reportEnd(directory, end, options, context);
    return leave.signal.aborted ? EXIT.interrupted : EXIT.ok;
  } finally {
    view.close();
    process.off('SIGINT', onInterrupt);
  }
}

/** The experiment in a line: `2 bits per-channel, fixed-point, rank 32; steps of 8 × 256 tokens`. */
function settingOf(value: unknown): string {
  const experiment = value as Experiment | undefined;
  if (experiment === undefined) return '';
  try {
    const { method, weights, storage, lowRank } = experiment.quantization;
    const { granularity } = weights;
    const grid = typeof granularity === 'string' ? granularity : `groups of ${String(granularity.group)}`;
    // Runs of earlier versions say nothing of zero points.
    const zeroPoints = (weights.symmetric as boolean | undefined) === false ? ', zero points' : '';
    const activations = activationName(experiment);
    const bits = `${String(weights.bits)} bits ${grid}${zeroPoints}${activations === null ? '' : `, activations ${activations}`}`;
    if (method === 'rtn') return `${bits}, round to nearest`;
    if (method === 'gptq') return `${bits}, GPTQ`;
    const { batchSize } = experiment.training;
    const batch = `${String(batchSize)} × ${String(experiment.data.sequenceLength)} tokens`;
    if (method === 'lsq') return `${bits}, all weights trained (LSQ); steps of ${batch}`;
    // Nor of where they start.
    const { start } = experiment.quantization as Partial<Experiment['quantization']>;
    const from = start?.integers === 'gptq' ? ', from GPTQ' : '';
    const svd = start?.lowRank === 'svd' ? ', A·B from an SVD' : '';
    if (method === 'peqa') return `${bits}, scales alone${from}; steps of ${batch}`;
    return `${bits}, ${storage}, rank ${String(lowRank.rank)}${from}${svd}; steps of ${batch}`;
  } catch {
    // Of another version, or edited by hand: show what else there is.
    return '';
  }
}

function overview(
  { name, state, status, notes, directory }: RunSummary,
  setting: string,
  checkpoints: number[],
  context: Context,
): string[] {
  const { output } = context;
  const style = STATE_STYLE[state];
  const of = (text: string): string => (style === undefined ? text : output.paint(style, text));
  const date = (time: number | null): string => (time === null ? '–' : new Date(time).toLocaleString('sv-SE'));
  const facts: [string, string][] = [
    ['state', of(status.phase === null ? state : `${state} (${status.phase})`)],
    ...(setting === '' ? [] : [['experiment', setting] as [string, string]]),
    ['steps', status.totalSteps > 0 ? `${String(status.step)} of ${String(status.totalSteps)}` : '–'],
    ['created', date(status.created)],
    ...(status.ended === null ? [] : [['ended', date(status.ended)] as [string, string]]),
    ...(status.etaSeconds === null ? [] : [['time left', formatSeconds(status.etaSeconds)] as [string, string]]),
    ...(status.attempt > 1 ? [['attempts', String(status.attempt)] as [string, string]] : []),
    ...(status.loss === null ? [] : [['loss', showNumber(status.loss, 'nats')] as [string, string]]),
    ...(status.tokensPerSecond === null
      ? []
      : [['speed', `${formatCount(status.tokensPerSecond)} tok/s`] as [string, string]]),
    ...(status.memory === null
      ? []
      : [
          ['memory', `${formatBytes(status.memory.engine)} engine, ${formatBytes(status.memory.resident)} process`] as [
            string,
            string,
          ],
        ]),
    ...gpuFacts(status.gpu ?? null),
    ...(status.best === null
      ? []
      : [
          [
            'best',
            `perplexity ${showNumber(status.best.perplexity, 'perplexity')} at step ${String(status.best.step)}`,
          ] as [string, string],
        ]),
    ['checkpoints', checkpoints.length === 0 ? 'none' : `of step ${checkpoints.join(', ')}`],
    ...(notes.tags === undefined || notes.tags.length === 0
      ? []
      : [['tags', notes.tags.join(', ')] as [string, string]]),
    ...(notes.note === undefined ? [] : [['note', notes.note] as [string, string]]),
    ...(status.error === null ? [] : [['error', status.error.message] as [string, string]]),
    ...(status.error?.hint === undefined ? [] : [['hint', status.error.hint] as [string, string]]),
    ['folder', shortPath(context, directory)],
  ];
  const width = Math.max(...facts.map(([key]) => key.length));
  return [
    output.paint('bold', notes.name === undefined ? name : `${name} (${notes.name})`),
    ...facts.map(([key, value]) => `  ${key.padEnd(width)}  ${value}`),
  ];
}
