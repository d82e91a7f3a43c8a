// The contract between the live-charts panel and its host. Everything that crosses is declared here, with its check.
//
// For the host, in order:
//   1. HTML: `panelHtml` of ../shared/page (content security policy, nonce, translations) with the URIs of dist/webview/charts.js and
//      charts.css. localResourceRoots: dist/webview.
//   2. One `RunFeed` (./feed) a shown run: give it what RunReader.poll() returns (`feed.add(update)`; read with `layers: true`).
//      It folds resumes and repeated evaluations and makes the messages: `for (const piece of feed.snapshot()) post(Data.of(piece))`
//      sends everything, `feed.delta()` in the same way what is new since.
//   3. The page sends `Ready` whenever it (re)starts: after load, and after every time a hidden tab is shown again, because a
//      hidden page is thrown away (retainContextWhenHidden is not needed). Answer with `Runs`, then every run's snapshot; from
//      then on send `Runs` when a status changes and `Data` deltas as lines arrive. While the panel is hidden send nothing.
//   4. `RequestSnapshot`: a delta did not fit what the page has; send that run's snapshot again.
//   5. Commands are requests, not orders: the host asks where asking is due (the Stop dialog is the host's), refuses in
//      restricted mode, and tells failures with `Notice`.
//   6. The serializer gets the page's state: `panelState(value)` checks it; `runs` are the ids to open again.
//
// Receiving: dispatch(message, [on(Ready, () => …), on(Control, ({ run, verb }) => …)]) from ../shared/messages; it returns a
// sentence for the log when a message is not of this contract.
import {
  array,
  boolean,
  buffer,
  CheckError,
  count,
  nullable,
  number,
  object,
  oneOf,
  record,
  string,
  type Check,
  type Checked,
} from '../shared/check';
import { command, notification } from '../shared/messages';
import { STATES } from '../shared/states';

const VERBS = ['pause', 'resume', 'stop', 'checkpoint'] as const;
export type ControlVerb = (typeof VERBS)[number];

// ── Host → panel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const trouble = object({ message: string, hint: nullable(string) });

const runInfo = object({
  /** Opaque to the panel and stable over reloads: the run directory's URI, say. */
  id: string,
  /** The name that the user gave (notes.json), else the directory's. */
  name: string,
  /** The experiment's name. */
  experiment: string,
  state: oneOf(STATES),
  /** What the trainer does within its state (`loading the model`); null: training. */
  phase: nullable(string),
  progress: nullable(object({ done: number, total: number })),
  step: count,
  totalSteps: count,
  etaSeconds: nullable(number),
  /** `CPU · AVX-512 · 2 threads`, as the host words it. */
  device: nullable(string),
  /** `LR-QAT · W2 · A8 · rank 32`. */
  setting: nullable(string),
  attempt: count,
  /** Milliseconds since 1970. */
  created: number,
  started: nullable(number),
  ended: nullable(number),
  heartbeat: number,
  best: nullable(object({ step: count, perplexity: number })),
  lastCheckpoint: nullable(count),
  /** Of a failed run. */
  error: nullable(trouble),
  /** The run's files cannot be read (folder deleted, of a later version, no access): the panel shows it in place of a state. */
  problem: nullable(trouble),
  /** Bytes of a long metrics file read so far; null once all is read. */
  loading: nullable(object({ done: number, total: number })),
  /** A control that was sent and is not acknowledged yet. */
  pending: nullable(oneOf(VERBS)),
});
export type RunInfo = Checked<typeof runInfo>;

/** All runs of the panel, whole, in the order in which they are shown. The first is the one that the header is about until the
 *  user picks another. Runs that are missing from the list leave the panel. Small: send it at every change of a status. */
export const Runs = notification(
  'charts/runs',
  object({
    runs: array(runInfo),
    /** Whether Pause, Resume, Stop and Checkpoint may be used; `reason` says why not (restricted mode). */
    controls: object({ allowed: boolean, reason: nullable(string) }),
  }),
);

/** Columns of a step row, each as a buffer of `count` float64 in the platform's byte order. What was null in the file is NaN. A sparse
 *  one of which all rows are is left out. */
export const ROW_COLUMNS = [
  'step',
  /** Milliseconds since 1970. */
  'time',
  /** Milliseconds in which trainers have worked on the run; see feed.ts. Never decreases. */
  'elapsed',
  /** Tokens seen up to and with this step. */
  'tokens',
  'loss',
  'learningRateLowRank',
  'learningRateScales',
  'gradientNorm',
  'tokensPerSecond',
  /** Bytes. */
  'memoryEngine',
  'memoryResident',
  /** 1: nothing was changed, because loss or gradient were not finite. */
  'skipped',
  /** Of runs with distillation: the means that the loss is mixed of. */
  'crossEntropy',
  'divergence',
  /** Of runs that train them. */
  'learningRateZeroPoints',
  'learningRateWeights',
  'learningRateNorms',
  'learningRateHead',
  'learningRateEmbeddings',
  'learningRateActivations',
  /** Of runs on a GPU, read at most once a second and held until the next reading. A share, W, °C, bytes of all processes. */
  'gpuUtilization',
  'gpuWatts',
  'gpuCelsius',
  'gpuMemory',
] as const;
export type RowColumn = (typeof ROW_COLUMNS)[number];
export const SPARSE_COLUMNS: ReadonlySet<RowColumn> = new Set([
  'crossEntropy',
  'divergence',
  'learningRateZeroPoints',
  'learningRateWeights',
  'learningRateNorms',
  'learningRateHead',
  'learningRateEmbeddings',
  'learningRateActivations',
  'gpuUtilization',
  'gpuWatts',
  'gpuCelsius',
  'gpuMemory',
]);

/** Columns of a layer row (one quantized linear at one step), as above. */
export const LAYER_COLUMNS = [
  'step',
  /** Index into `names`. */
  'layer',
  'clippedShare',
  /** Of the linear's weights, the share whose integer differs from step 0. */
  'flippedShare',
  'scaleDrift',
] as const;

/** @param keep how many of the rows that the panel has stay; what follows them is replaced by the columns' `count` rows. */
function columnsOf<const Names extends readonly string[]>(
  names: Names,
  sparse: ReadonlySet<string> = new Set(),
): Check<{
  readonly keep: number;
  readonly count: number;
  readonly columns: Readonly<Record<Names[number], ArrayBuffer>>;
}> {
  const outer = object({ keep: count, count, columns: record(buffer) });
  return (value, at) => {
    const { columns, count: rows } = outer(value, at);
    for (const name of names) {
      const length = columns[name]?.byteLength;
      if (length === undefined && sparse.has(name)) continue;
      if (length !== rows * Float64Array.BYTES_PER_ELEMENT) {
        throw new CheckError(`${at}.columns.${name}: expected ${String(rows)} float64, got ${String(length)} bytes`);
      }
    }
    return value as ReturnType<ReturnType<typeof columnsOf<Names>>>;
  };
}

function list<T>(check: Check<T>): Check<{ readonly keep: number; readonly items: readonly T[] }> {
  return object({ keep: count, items: array(check) });
}

/** Where a step lies on the other two x axes. */
const position = { step: count, elapsed: number, tokens: number };

const FORMS = ['float', 'round-to-nearest', 'trained', 'merged'] as const;

const evaluation = object({
  ...position,
  /** `validation`, `wikitext`, … */
  kind: string,
  form: oneOf(FORMS),
  perplexity: nullable(number),
  time: number,
});
export type Evaluation = Checked<typeof evaluation>;

const checkpoint = object({ ...position, time: number });
export type CheckpointMark = Checked<typeof checkpoint>;

/** The run went on from the checkpoint of `step`. */
const resume = object({ ...position, time: number });
export type ResumeMark = Checked<typeof resume>;

const delta = object({
  run: string,
  /** Of the panel's data of this run once this is applied. */
  revision: count,
  /** The revision that this builds on; 0: on nothing (first piece of a snapshot). The panel asks for a snapshot where it has
   *  another one. */
  base: count,
  rows: nullable(columnsOf(ROW_COLUMNS, SPARSE_COLUMNS)),
  evaluations: nullable(list(evaluation)),
  checkpoints: nullable(list(checkpoint)),
  resumes: nullable(list(resume)),
  /** `names`: all linears seen so far, in the model's order of appearance. */
  layers: nullable(object({ names: array(string), rows: columnsOf(LAYER_COLUMNS) })),
});
export type RunDelta = Checked<typeof delta>;

/** New data of one run. Made by RunFeed. */
export const Data = notification('charts/data', delta);

/** How an `Export` ended. */
export const Exported = notification(
  'charts/exported',
  object({ id: count, outcome: oneOf(['saved', 'cancelled', 'failed']), message: nullable(string) }),
);

/** Something the user should know and that has no other place in the panel: a control that failed, say. */
export const Notice = notification(
  'charts/notice',
  object({ severity: oneOf(['information', 'warning', 'error']), message: string }),
);

// ── Panel → host ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The page runs and knows nothing yet. */
export const Ready = command('charts/ready', object({}));

export const RequestSnapshot = command('charts/requestSnapshot', object({ run: string }));

/** `stop`: the host shows its dialog (continue, stop and save, stop now). `resume` also starts an ended run again. */
export const Control = command('charts/control', object({ run: string, verb: oneOf(VERBS) }));

/** Let the user pick more runs to lay over. */
export const AddRuns = command('charts/addRuns', object({}));

/** Compare the runs of this panel side by side. */
export const CompareRuns = command('charts/compareRuns', object({}));

/** Take a run out of this panel. Not sent for the last one. */
export const RemoveRun = command('charts/removeRun', object({ run: string }));

export const Open = command('charts/open', object({ run: string, what: oneOf(['log', 'folder', 'experiment']) }));

/** Save `data` where the user says. Answer with `Exported` of the same id. */
export const Export = command(
  'charts/export',
  object({ id: count, kind: oneOf(['png', 'csv']), suggestedName: string, data: buffer }),
);

/** For the host's log: something unexpected happened in the page. */
export const Report = command('charts/report', object({ message: string }));

// ── State of the page, kept by VS Code over reloads ──────────────────────────────────────────────────────────────────────────

export const X_AXES = ['step', 'tokens', 'time'] as const;
export type XAxis = (typeof X_AXES)[number];

const range = object({ min: number, max: number });

const state = object({
  version: oneOf(['1']),
  /** Ids of the runs shown, first first. */
  runs: array(string),
  x: oneOf(X_AXES),
  logX: boolean,
  /** Charts whose y axis is logarithmic. */
  logY: array(string),
  /** Weight of the past in the moving average, 0 (none) to 0.999. */
  smoothing: number,
  follow: boolean,
  /** The run that the header is about; null: the first. */
  focus: nullable(string),
  /** Kind of evaluation whose perplexity is shown; null: the first that was measured. */
  kind: nullable(string),
  /** Runs that are switched off. */
  hidden: array(string),
  /** Charts that show their table. */
  tables: array(string),
  heat: oneOf(['clippedShare', 'flippedShare', 'scaleDrift']),
  /** Zoomed range of x in units of the axis; null: all. */
  zoom: nullable(range),
});
export type PanelState = Checked<typeof state>;

/** Stored state, or null where it is none of ours (of another version, damaged). */
export function panelState(value: unknown): PanelState | null {
  try {
    return state(value, 'state');
  } catch (error) {
    if (error instanceof CheckError) return null;
    throw error;
  }
}
