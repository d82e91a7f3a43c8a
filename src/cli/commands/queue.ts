// lrqat queue: what waits, in which order, and how many at a time.
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { showNumber } from '../../compare';
import { UserError } from '../../errors';
import { formatSeconds } from '../../experiment';
import { queueDevice } from '../../launch';
import {
  cancelQueued,
  enqueue,
  findRun,
  isEnded,
  moveInQueue,
  notQueued,
  readQueue,
  readState,
  runPaths,
  runsFolderFor,
  setParallel,
  type Move,
  type Queue,
  type RunSummary,
} from '../../runs';
import { readJson } from '../../runs/json-file';
import { runsFolderOf, shortPath, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { readExperiment, requireExperiment } from '../experiment-input';
import { keepQueueGoing } from '../keep-queue';
import { queueInput, type QueueRunsOptions } from '../queue-runs';
import { STATE_STYLE } from '../state-style';
import { renderTable, type Column } from '../table';
import { probe } from '../world';

export interface QueueListOptions extends RunsOption {
  readonly json?: boolean;
  readonly parallel?: number;
}

const COLUMNS: readonly Column[] = [
  { title: '', align: 'right' },
  { title: 'run', shrinkTo: 22 },
  { title: 'state' },
  { title: 'device' },
  { title: 'step', align: 'right' },
  { title: 'loss', align: 'right' },
  { title: 'time left', align: 'right' },
];

export async function listQueue(options: QueueListOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  if (options.parallel !== undefined) await setParallel(folder, options.parallel);
  await keepQueueGoing(folder, context);
  const queue = await readQueue(folder);
  if (options.json === true) context.output.line(JSON.stringify(queue, null, 2));
  else show(queue, folder, context);
  return EXIT.ok;
}

function show({ active, waiting, parallel }: Queue, folder: string, context: Context): void {
  const { output } = context;
  const pace = parallel === 1 ? 'one at a time' : `${String(parallel)} at a time`;
  if (active.length + waiting.length === 0) {
    output.line(`nothing is queued in ${shortPath(context, folder)} (${pace} a device)`);
    return;
  }
  const rows = [...active.map((run) => row(run, '')), ...waiting.map((run, index) => row(run, String(index + 1)))];
  const options = { width: output.width(), header: (text: string) => output.paint('bold', text), repeat: 2 };
  const [header = '', ...lines] = renderTable(COLUMNS, rows, options);
  output.line(header);
  lines.forEach((line, index) => {
    const state = active[index]?.state;
    const style = state === undefined ? undefined : STATE_STYLE[state];
    output.line(state === undefined || style === undefined ? line : line.replace(state, output.paint(style, state)));
  });
  output.line(`\n${String(waiting.length)} waiting, ${pace} a device`);
}

function row({ name, status, state }: RunSummary, position: string): string[] {
  return [
    position,
    name,
    state,
    status.queue?.device ?? '',
    `${String(status.step)}/${String(status.totalSteps)}`,
    showNumber(status.loss, 'nats'),
    status.etaSeconds === null ? '–' : formatSeconds(status.etaSeconds),
  ];
}

export interface QueueAddOptions extends QueueRunsOptions, RunsOption {}

/** A file is queued as new runs, a run that has ended to go on. */
export async function addToQueue(what: string, options: QueueAddOptions, context: Context): Promise<number> {
  if (/\.jsonc?$/.test(what)) {
    const file = path.resolve(context.folder, what);
    const override = options.runs === undefined ? undefined : path.resolve(context.folder, options.runs);
    const runsFolder = runsFolderFor(file, override);
    const input = await readExperiment(what, options.set, runsFolder, context);
    return queueInput(input, requireExperiment(input, what, context), runsFolder, options, context);
  }
  const directory = findRun(what, runsFolderOf(context, options));
  if (options.set.length > 0) {
    throw new UserError('FrozenExperiment', '--set changes an experiment file; that of a run is frozen');
  }
  const experiment = await readJson(runPaths(directory).experiment);
  const written = typeof experiment === 'object' && experiment !== null && 'device' in experiment && experiment.device;
  await enqueue(directory, await queueDevice(typeof written === 'string' ? written : 'auto', probe));
  const folder = path.dirname(directory);
  if (options.parallel !== undefined) await setParallel(folder, options.parallel);
  context.output.line(`${path.basename(directory)} is queued`);
  await keepQueueGoing(folder, context);
  return EXIT.ok;
}

export async function moveRun(run: string, to: string, options: RunsOption, context: Context): Promise<number> {
  const directory = findRun(run, runsFolderOf(context, options));
  const folder = path.dirname(directory);
  const name = path.basename(directory);
  await moveInQueue(folder, [name], moveOf(to));
  const { waiting } = await readQueue(folder);
  const position = waiting.findIndex((other) => other.name === name) + 1;
  context.output.line(`${name} is number ${String(position)} of ${String(waiting.length)}`);
  return EXIT.ok;
}

function moveOf(text: string): Move | number {
  switch (text) {
    case 'up':
    case 'down':
    case 'first':
    case 'last':
      return text;
    default:
  }
  const position = Number(text);
  if (Number.isInteger(position) && position >= 1) return position;
  throw new UserError('BadMove', `"${text}" is no place in the queue; use up, down, first, last or a position from 1`);
}

export interface CancelOptions extends RunsOption {
  readonly all?: boolean;
}

export async function cancelRuns(runs: readonly string[], options: CancelOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  if (options.all !== true && runs.length === 0) {
    throw new UserError('NoRun', 'no run is named', { hint: 'Name runs, or take all out with --all.' });
  }
  const named = runs.map((run) => findRun(run, folder));
  const directories =
    options.all === true ? (await readQueue(folder)).waiting.map(({ directory }) => directory) : named;
  for (const directory of directories) {
    const name = path.basename(directory);
    const done = await cancelQueued(directory);
    // With --all one that has started meanwhile is simply none of those that wait.
    if (!done && options.all !== true) throw notQueued(name);
    if (done) context.output.line(`${name} is out of the queue (lrqat resume or lrqat queue add take it up again)`);
  }
  return EXIT.ok;
}

export interface WaitOptions extends RunsOption {
  readonly timeout?: number;
}

/** Milliseconds between looks. */
const PACE = 1_000;

/** Stays until nothing waits or works any more: for scripts and jobs. */
export async function waitForQueue(options: WaitOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  const deadline = options.timeout === undefined ? Infinity : Date.now() + options.timeout * 1000;
  const seen = new Map<string, string>();
  for (;;) {
    await keepQueueGoing(folder, context);
    const { waiting, active } = await readQueue(folder);
    for (const run of [...waiting, ...active]) seen.set(run.directory, run.name);
    if (waiting.length + active.length === 0) break;
    if (Date.now() >= deadline) {
      context.messages.line(`${String(waiting.length)} waiting, ${String(active.length)} at work: still not done`);
      return EXIT.stopped;
    }
    await sleep(PACE);
  }
  let bad = 0;
  for (const [directory, name] of seen) {
    const { state } = await readState(directory);
    if (isEnded(state) && state !== 'finished') bad += 1;
    context.output.line(`${name}  ${state}`);
  }
  return bad === 0 ? EXIT.ok : EXIT.failed;
}
