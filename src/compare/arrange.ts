// Which runs a comparison shows, and in what order: filter, sort, pins. Pure.
import type { Json } from './config-diff';
import type { RunFacts } from './facts';
import { METRICS } from './metrics';

export interface Sort {
  /** Key of a metric or a setting, or `state`, `name`. */
  readonly key: string;
  readonly descending: boolean;
}

export interface Arrangement<Run extends RunFacts = RunFacts> {
  /** Words, see matches. */
  readonly filter: string;
  readonly sort: Sort | null;
  /** Runs that come first and that no filter hides. */
  readonly isPinned: (run: Run) => boolean;
}

/** The runs that pass, pinned ones first, each group sorted. Runs that are equal, and those whose value is not known (they come
 *  last either way), keep their order. */
export function arrange<Run extends RunFacts>(runs: readonly Run[], arrangement: Arrangement<Run>): Run[] {
  const { filter, sort, isPinned } = arrangement;
  const terms = termsOf(filter);
  const shown = runs.filter((run) => isPinned(run) || terms.every((term) => term(run)));
  const sorted = sort === null ? shown : shown.toSorted((one, other) => compareBy(sort, one, other));
  return [...sorted.filter(isPinned), ...sorted.filter((run) => !isPinned(run))];
}

type Term = (run: RunFacts) => boolean;

/** Words, all of which must hold: `w2` (part of the name, a tag or the state), `bits=2`, `rank>=16`, `perplexity<60`,
 *  `state!=failed`. A key may be the end of one (`rank` for `quantization.lowRank.rank`); where it fits several metrics or
 *  settings, one that holds is enough. */
export function termsOf(filter: string): Term[] {
  return filter
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const [, key = '', operator = '', wanted = ''] = /^([\w.]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word) ?? [];
      return operator === '' ? containing(word.toLowerCase()) : holding(key.toLowerCase(), operator, wanted);
    });
}

function containing(word: string): Term {
  return ({ name, title, tags, state }) =>
    [name, title, state, ...tags.map((tag) => `#${tag}`)].some((text) => text.toLowerCase().includes(word));
}

function holding(key: string, operator: string, wanted: string): Term {
  return (run) => {
    const values = valuesOf(run, key);
    // Different from 2 is also what has no such setting.
    if (operator === '!=') return values.every((value) => !equals(value, wanted));
    return values.some((value) => {
      if (operator === '=') return equals(value, wanted);
      const limit = Number(wanted);
      if (typeof value !== 'number' || Number.isNaN(limit)) return false;
      if (operator === '<') return value < limit;
      if (operator === '>') return value > limit;
      return operator === '<=' ? value <= limit : value >= limit;
    });
  };
}

function equals(value: Json, wanted: string): boolean {
  if (typeof value === 'number') return value === Number(wanted);
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.toLowerCase() === wanted.toLowerCase();
}

function valuesOf({ state, name, title, tags, metrics, settings }: RunFacts, key: string): Json[] {
  if (key === 'state') return [state];
  if (key === 'name') return [name, title];
  if (key === 'tag') return [...tags];
  // A perplexity is the trained weights' unless it is said otherwise.
  if (key === 'perplexity' || key === 'ppl')
    return known(metrics['perplexity.trained'] ?? metrics['perplexity.merged'] ?? metrics['bestTrained']);
  const fits = (whole: string): boolean => {
    const lower = whole.toLowerCase();
    return lower === key || lower.endsWith(`.${key}`);
  };
  return [
    ...Object.entries(metrics).flatMap(([whole, value]) => (fits(whole) ? known(value) : [])),
    ...Object.entries(settings).flatMap(([whole, value]) => (fits(whole) ? [value] : [])),
  ];
}

const known = (value: number | null | undefined): number[] => (value === null || value === undefined ? [] : [value]);

const METRIC_KEYS: ReadonlySet<string> = new Set(METRICS.map(({ key }) => key));

function compareBy({ key, descending }: Sort, one: RunFacts, other: RunFacts): number {
  const [a, b] = [sortValue(one, key), sortValue(other, key)];
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const order =
    typeof a === 'number' && typeof b === 'number'
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  return descending ? -order : order;
}

function sortValue(run: RunFacts, key: string): number | string | null {
  if (key === 'name') return run.title;
  if (key === 'state') return run.state;
  if (METRIC_KEYS.has(key)) return run.metrics[key] ?? null;
  const value = run.settings[key];
  if (value === undefined || value === null) return null;
  return typeof value === 'number' || typeof value === 'string' ? value : JSON.stringify(value);
}
