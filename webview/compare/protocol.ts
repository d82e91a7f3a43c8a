// The contract between the compare panel and its host. Everything that crosses is declared here, with its check.
//
// The page sends `Ready` whenever it (re)starts; the host answers with `Runs` and from then on sends `Changed` for what is new. The
// page arranges and compares by itself (src/compare), so nothing goes back and forth while the user sorts or filters.
import type { Json, RunFacts } from '../../src/compare';
import {
  array,
  boolean,
  CheckError,
  number,
  nullable,
  object,
  oneOf,
  record,
  string,
  type Check,
  type Checked,
} from '../shared/check';
import { command, notification } from '../shared/messages';
import { STATES } from '../shared/states';

// ── Host → panel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const json: Check<Json> = (value, at) => {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return number(value, at);
  if (Array.isArray(value)) return array(json)(value, at);
  return record(json)(value, at);
};

const facts = object({
  name: string,
  title: string,
  tags: array(string),
  state: oneOf(STATES),
  metrics: record(nullable(number)),
  settings: record(json),
  float: nullable(object({ bitsPerWeight: number, modelBytes: number })),
}) satisfies Check<RunFacts>;

const run: Check<Checked<typeof facts> & Checked<typeof beside>> = (value, at) => {
  facts(value, at);
  beside(value, at);
  return value as ReturnType<typeof run>;
};
const beside = object({
  /** Opaque to the panel and stable over reloads: the run directory's URI. */
  id: string,
  /** When it was started or how the user calls it: short, for below the experiment's name. */
  label: string,
  /** The experiment's name. */
  experiment: string,
  /** Share of the steps done, 0 to 1. */
  done: number,
  /** The run's files cannot be read (any more). */
  problem: nullable(string),
});
export type Run = ReturnType<typeof run>;

/** All runs of the panel, in their order. */
export const Runs = notification('compare/runs', object({ runs: array(run) }));

/** Runs that are not what they were. All are among those of the last `Runs`. */
export const Changed = notification('compare/changed', object({ runs: array(run) }));

/** Something the user should know and that has no other place in the panel. */
export const Notice = notification(
  'compare/notice',
  object({ severity: oneOf(['information', 'warning', 'error']), message: string }),
);

// ── Panel → host ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The page runs and knows nothing yet. */
export const Ready = command('compare/ready', object({}));

/** Let the user pick more runs. */
export const AddRuns = command('compare/addRuns', object({}));

export const RemoveRun = command('compare/removeRun', object({ run: string }));

/** Live charts with these runs laid over each other. */
export const OpenCharts = command('compare/openCharts', object({ runs: array(string) }));

export const FORMATS = ['markdown', 'latex', 'csv'] as const;
export type CopyFormat = (typeof FORMATS)[number];

/** Put a text into the clipboard. */
export const Copy = command('compare/copy', object({ format: oneOf(FORMATS), text: string }));

/** Make a report of these runs, in this order, and save it where the user says.
 *  `baseline`: one of `runs`; `identical`: with the settings that are the same in all. */
export const SaveReport = command(
  'compare/saveReport',
  object({ runs: array(string), baseline: nullable(string), identical: boolean }),
);

/** For the host's log: something unexpected happened in the page. */
export const Report = command('compare/report', object({ message: string }));

// ── State of the page, kept by VS Code over reloads ──────────────────────────────────────────────────────────────────────────

export const LAYOUTS = ['columns', 'rows'] as const;
export type Layout = (typeof LAYOUTS)[number];

export const COST_KEYS = ['bitsPerWeight', 'modelBytes', 'peakMemoryBytes'] as const;

const state = object({
  version: oneOf(['1']),
  /** Ids of the runs, first first. */
  runs: array(string),
  /** What a run is in the table. */
  layout: oneOf(LAYOUTS),
  /** The run that others are measured against; null: the first one shown. */
  baseline: nullable(string),
  hideIdentical: boolean,
  /** Words that runs must have. */
  filter: string,
  /** Words that metrics and settings must have. */
  search: string,
  sort: nullable(object({ key: string, descending: boolean })),
  pinned: array(string),
  picture: object({
    shown: boolean,
    cost: oneOf(COST_KEYS),
    /** null: as fits the values. */
    log: nullable(boolean),
    table: boolean,
  }),
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
