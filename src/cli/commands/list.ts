// lrqat list
import { showNumber } from '../../compare';
import { formatSeconds } from '../../experiment';
import { listRuns, queueOf, readQueueFile, type RunSummary } from '../../runs';
import { runsFolderOf, shortPath, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { STATE_STYLE } from '../state-style';
import { keepQueueGoing } from '../keep-queue';
import { renderTable, type Column } from '../table';

export interface ListOptions extends RunsOption {
  readonly json?: boolean;
}

const COLUMNS: readonly Column[] = [
  { title: 'run', shrinkTo: 22 },
  { title: 'state' },
  { title: 'step', align: 'right' },
  { title: 'loss', align: 'right' },
  { title: 'perplexity', align: 'right' },
  { title: 'gap closed', align: 'right' },
  { title: 'bits', align: 'right' },
  { title: 'time', align: 'right' },
];

export async function list(options: ListOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  await keepQueueGoing(folder, context);
  const runs = await listRuns(folder);
  const { output } = context;
  if (options.json === true) {
    output.line(JSON.stringify(runs, null, 2));
    return EXIT.ok;
  }
  if (runs.length === 0) {
    output.line(`no runs in ${shortPath(context, folder)}`);
    return EXIT.ok;
  }
  const { waiting } = queueOf(await readQueueFile(folder), runs);
  const places = new Map(waiting.map(({ name }, index) => [name, index + 1]));
  const rows = runs.map((run) => row(run, places.get(run.name)));
  const lines = renderTable(COLUMNS, rows, {
    width: output.width(),
    header: (text) => output.paint('bold', text),
  });
  const [header = '', ...body] = lines;
  output.line(header);
  body.forEach((line, index) => {
    const state = runs[index]?.state;
    const style = state === undefined ? undefined : STATE_STYLE[state];
    output.line(state === undefined || style === undefined ? line : line.replace(state, output.paint(style, state)));
  });
  return EXIT.ok;
}

/** The best trained perplexity while the run goes on; of a finished run that of the merged model. */
function row({ name, state, status, notes, result }: RunSummary, place: number | undefined): string[] {
  const title = notes.name === undefined ? name : `${name} (${notes.name})`;
  const end = status.ended ?? status.heartbeat;
  const seconds = result?.seconds ?? (status.started === null ? null : (end - status.started) / 1000);
  return [
    notes.star === true ? `${title} ★` : title,
    place === undefined ? state : `${state} (${String(place)})`,
    status.totalSteps > 0 ? `${String(status.step)}/${String(status.totalSteps)}` : '–',
    showNumber(status.loss, 'nats'),
    showNumber(result?.perplexity.merged ?? status.best?.perplexity, 'perplexity'),
    showNumber(result?.gapClosed, 'share'),
    showNumber(result?.bitsPerWeight, 'bits'),
    seconds === null ? '–' : formatSeconds(seconds),
  ];
}
