// The explorer's tree from runs and experiment files: grouping, sorting, filtering. Pure; the view compares two trees to see what
// to redraw.
import path from 'node:path';
import { isLive, type DerivedState, type ListedRun, type RunEntry } from '../../runs';
import { nameOf } from '../../experiment/parse';
import { perplexityOf, runLabel, stateName } from './run-text';

export type SortOrder = 'newest' | 'perplexity';
export type Grouping = 'experiment' | 'state' | 'none';

export interface TreeOptions {
  readonly sort: SortOrder;
  readonly group: Grouping;
  /** Words that all must occur in what is known of a run; empty: everything is shown. */
  readonly filter: string;
}

export const DEFAULT_TREE_OPTIONS: TreeOptions = { sort: 'newest', group: 'experiment', filter: '' };

export interface ExperimentNode {
  readonly type: 'experiment';
  readonly id: string;
  readonly label: string;
  /** Absolute; null: the file is not in the workspace. */
  readonly file: string | null;
  readonly runs: readonly RunNode[];
}

export interface StateNode {
  readonly type: 'state';
  readonly id: string;
  readonly state: DerivedState | 'broken';
  readonly label: string;
  readonly runs: readonly RunNode[];
}

export interface RunNode {
  readonly type: 'run';
  readonly id: string;
  readonly entry: RunEntry;
  /** The experiment is said by the parent. */
  readonly below: boolean;
}

export type ExplorerNode = ExperimentNode | StateNode | RunNode;

/** What VS Code is given for a node: it tells elements apart by identity, so there is one an id for as long as the node is shown,
 *  whatever becomes of its contents. */
export interface ExplorerElement {
  readonly id: string;
  node: ExplorerNode;
}

export function buildTree(
  entries: readonly RunEntry[],
  experimentFiles: readonly string[],
  options: TreeOptions,
): readonly ExplorerNode[] {
  const words = options.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = entries.filter((entry) => matches(searchText(entry), words)).sort(compareBy(options.sort));
  switch (options.group) {
    case 'none':
      return shown.map((entry) => runNode(entry, false));
    case 'state':
      return byState(shown);
    case 'experiment':
      return byExperiment(shown, experimentFiles, words);
  }
}

function runNode(entry: RunEntry, below: boolean): RunNode {
  return { type: 'run', id: `run:${entry.directory}`, entry, below };
}

const matches = (text: string, words: readonly string[]): boolean => words.every((word) => text.includes(word));

function searchText(entry: RunEntry): string {
  if (entry.kind === 'broken') return `${entry.name} ${stateName('broken')}`.toLowerCase();
  const { name, notes, state, origin } = entry;
  const tags = (notes.tags ?? []).map((tag) => `#${tag}`);
  const star = notes.star === true ? ['star', '★'] : [];
  return [
    name,
    runLabel(entry),
    notes.note ?? '',
    state,
    stateName(state),
    origin.experimentName ?? '',
    ...tags,
    ...star,
  ]
    .join(' ')
    .toLowerCase();
}

/** Starred runs come first, then what trains now; the rest by the order asked for. */
function compareBy(sort: SortOrder): (one: RunEntry, other: RunEntry) => number {
  const newest = (one: RunEntry, other: RunEntry): number =>
    createdOf(other) - createdOf(one) || (one.name < other.name ? 1 : one.name > other.name ? -1 : 0);
  const worst = Number.POSITIVE_INFINITY;
  const best = (entry: RunEntry): number => (entry.kind === 'run' ? (perplexityOf(entry) ?? worst) : worst);
  return (one, other) => {
    const rank = Number(isStarred(other)) - Number(isStarred(one)) || Number(isLive(other)) - Number(isLive(one));
    if (rank !== 0) return rank;
    if (sort === 'newest') return newest(one, other);
    const [left, right] = [best(one), best(other)];
    return left === right ? newest(one, other) : left - right;
  };
}

const isStarred = (entry: RunEntry): boolean => entry.kind === 'run' && entry.notes.star === true;
const createdOf = (entry: RunEntry): number => (entry.kind === 'run' ? entry.status.created : 0);

const STATE_ORDER: readonly (DerivedState | 'broken')[] = [
  'running',
  'starting',
  'stopping',
  'paused',
  'queued',
  'crashed',
  'failed',
  'stale',
  'stopped',
  'finished',
  'broken',
];

function byState(entries: readonly RunEntry[]): StateNode[] {
  const groups = grouped(entries, (entry) => (entry.kind === 'broken' ? 'broken' : entry.state));
  return STATE_ORDER.flatMap((state) => {
    const runs = groups.get(state);
    if (runs === undefined) return [];
    return [
      {
        type: 'state' as const,
        id: `state:${state}`,
        state,
        label: stateName(state),
        runs: runs.map((entry) => runNode(entry, false)),
      },
    ];
  });
}

/** Experiment files of the workspace, with or without runs, then runs whose file is elsewhere, by the name in the run. */
function byExperiment(
  entries: readonly RunEntry[],
  experimentFiles: readonly string[],
  words: readonly string[],
): ExperimentNode[] {
  const files = new Set(experimentFiles);
  const keyOf = (entry: RunEntry): string => {
    const file = entry.kind === 'run' ? entry.origin.experimentFile : null;
    if (file !== null && files.has(file)) return `file:${file}`;
    return `name:${experimentNameOf(entry)}`;
  };
  const groups = grouped(entries, keyOf);
  const nodes: ExperimentNode[] = [];
  const labels = shortLabels(experimentFiles);
  for (const file of experimentFiles) {
    const id = `file:${file}`;
    const runs = groups.get(id) ?? [];
    groups.delete(id);
    const label = labels.get(file) ?? nameOf(file);
    if (runs.length === 0 && words.length > 0 && !matches(label.toLowerCase(), words)) continue;
    nodes.push({ type: 'experiment', id, label, file, runs: runs.map((entry) => runNode(entry, true)) });
  }
  nodes.sort((one, other) => one.label.localeCompare(other.label));
  const rest = [...groups].map(([id, runs]): ExperimentNode => {
    const label = id.slice('name:'.length);
    return { type: 'experiment', id, label, file: null, runs: runs.map((entry) => runNode(entry, true)) };
  });
  return [...nodes, ...rest.sort((one, other) => one.label.localeCompare(other.label))];
}

function experimentNameOf(entry: RunEntry): string {
  if (entry.kind === 'run' && entry.origin.experimentName !== null) return entry.origin.experimentName;
  return /^\d{8}-\d{6}-(.+)$/.exec(entry.name)?.[1] ?? entry.name;
}

/** Names of files; two of the same name get the folder as well. */
function shortLabels(files: readonly string[]): Map<string, string> {
  const byName = grouped(files, nameOf);
  return new Map(
    files.map((file) => {
      const name = nameOf(file);
      const isAlone = (byName.get(name)?.length ?? 0) < 2;
      return [file, isAlone ? name : `${name} (${path.basename(path.dirname(file))})`];
    }),
  );
}

function grouped<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

export function childrenOf(node: ExplorerNode): readonly RunNode[] {
  return node.type === 'run' ? [] : node.runs;
}

/** The run with the best perplexity of a group. */
export function bestOf(runs: readonly RunNode[]): ListedRun | null {
  let best: ListedRun | null = null;
  for (const { entry } of runs) {
    if (entry.kind !== 'run') continue;
    const value = perplexityOf(entry);
    if (value === null) continue;
    if (best === null || value < (perplexityOf(best) ?? Number.POSITIVE_INFINITY)) best = entry;
  }
  return best;
}

/** What must be redrawn to get from one tree to another: ids of nodes, or `all`. A node whose list of children changed is
 *  redrawn with them, one whose own contents changed alone. */
export function treeChanges(
  before: readonly ExplorerNode[],
  after: readonly ExplorerNode[],
): 'all' | readonly ExplorerNode[] {
  if (!sameIds(before, after)) return 'all';
  const changed: ExplorerNode[] = [];
  const compare = (old: ExplorerNode, node: ExplorerNode): void => {
    if (old.type === 'run' || node.type === 'run') {
      if (old.type !== 'run' || node.type !== 'run' || old.entry !== node.entry) changed.push(node);
      return;
    }
    const [was, is] = [childrenOf(old), childrenOf(node)];
    if (!sameIds(was, is)) {
      changed.push(node);
      return;
    }
    was.forEach((child, index) => {
      const other = is[index];
      if (other !== undefined) compare(child, other);
    });
    // To redraw a parent is to forget its children until they have been asked for again, and a menu that is open on one of them
    // then has no run: only when what it says of them has changed.
    if (summaryOf(old) !== summaryOf(node)) changed.push(node);
  };
  before.forEach((old, index) => {
    const node = after[index];
    if (node !== undefined) compare(old, node);
  });
  return changed;
}

/** What a group shows beside its children. */
function summaryOf(node: ExperimentNode | StateNode): string {
  const best = bestOf(node.runs);
  return `${node.label} ${String(best === null ? null : perplexityOf(best))}`;
}

function sameIds(one: readonly ExplorerNode[], other: readonly ExplorerNode[]): boolean {
  return one.length === other.length && one.every(({ id }, index) => id === other[index]?.id);
}
