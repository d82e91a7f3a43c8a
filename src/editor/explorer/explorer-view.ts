// The explorer: draws the tree model as a VS Code tree and keeps it up to date.
import {
  EventEmitter,
  MarkdownString,
  ThemeColor,
  ThemeIcon,
  TreeItem,
  TreeItemCollapsibleState,
  Uri,
  window,
  type CancellationToken,
  type Disposable,
  type TreeDataProvider,
  type TreeView,
} from 'vscode';
import { formatBytes } from '../../experiment/format-numbers';
import { diskUsage, type RunEntry } from '../../runs';
import { showNumber } from '../../compare/show';
import { EXPLORER_VIEW } from '../contributions';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import type { Place } from '../queue/queue-places';
import { setContext } from '../register';
import type { Services } from '../services';
import {
  contextWords,
  iconOf,
  perplexityOf,
  runDescription,
  runFacts,
  runLabel,
  runTitle,
  stateIcon,
  stateName,
  type IconSpec,
} from './run-text';
import {
  bestOf,
  buildTree,
  childrenOf,
  treeChanges,
  type ExperimentNode,
  type ExplorerElement,
  type ExplorerNode,
  type RunNode,
  type TreeOptions,
} from './tree-model';
import { loadOptions, saveOptions } from './view-state';

/** Deltas within this time are drawn together. */
const SETTLE = 30;

export class ExplorerView implements TreeDataProvider<ExplorerElement>, Disposable {
  readonly tree: TreeView<ExplorerElement>;
  private readonly changeEmitter = new EventEmitter<ExplorerElement[] | undefined>();
  readonly onDidChangeTreeData = this.changeEmitter.event;
  private readonly owned: Owned[] = [];
  private roots: readonly ExplorerNode[] = [];
  private readonly parents = new Map<string, ExplorerElement>();
  private elements = new Map<string, ExplorerElement>();
  private viewing: Disposable | null = null;
  private timer: NodeJS.Timeout | null = null;
  private treeOptions: TreeOptions;

  constructor(private readonly services: Services) {
    this.treeOptions = loadOptions(services.context.workspaceState);
    this.tree = window.createTreeView<ExplorerElement>(EXPLORER_VIEW, {
      treeDataProvider: this,
      canSelectMany: true,
      showCollapseAll: true,
    });
    const { runs, queue } = services;
    this.owned.push(
      this.tree,
      this.changeEmitter,
      runs.onDelta(() => this.redrawSoon()),
      runs.onExperiments(() => this.redrawSoon()),
      queue.onChange(() => this.changeEmitter.fire(this.queuedElements())),
      this.tree.onDidChangeVisibility(({ visible }) => this.onVisible(visible)),
    );
    this.redraw();
    void runs.loaded.then(() => this.redraw());
    this.onVisible(this.tree.visible);
  }

  get options(): TreeOptions {
    return this.treeOptions;
  }

  setOptions(change: Partial<TreeOptions>): void {
    this.treeOptions = { ...this.treeOptions, ...change };
    void saveOptions(this.services.context.workspaceState, this.treeOptions);
    setContext('lrqat.filtered', this.treeOptions.filter !== '');
    this.redraw();
  }

  /** Shows a run and selects it. */
  async reveal(directory: string): Promise<void> {
    this.redraw();
    const element = this.elements.get(`run:${directory}`);
    if (element !== undefined) await this.tree.reveal(element, { select: true, focus: false, expand: true });
  }

  getChildren(element?: ExplorerElement): ExplorerElement[] {
    const nodes = element === undefined ? this.roots : childrenOf(element.node);
    return nodes.flatMap(({ id }) => this.elements.get(id) ?? []);
  }

  getParent(element: ExplorerElement): ExplorerElement | undefined {
    return this.parents.get(element.id);
  }

  getTreeItem(element: ExplorerElement): TreeItem {
    const { node } = element;
    switch (node.type) {
      case 'run':
        return runItem(node, this.services.queue.placeOf(node.entry.directory));
      case 'experiment':
        return experimentItem(node, element);
      case 'state':
        return groupItem(node.id, node.label, node.runs, stateIcon(node.state), 'state');
    }
  }

  async resolveTreeItem(item: TreeItem, { node }: ExplorerElement, token: CancellationToken): Promise<TreeItem> {
    if (node.type !== 'run') return item;
    const size = await diskUsage(node.entry.directory);
    if (!token.isCancellationRequested) item.tooltip = runTooltip(node.entry, size);
    return item;
  }

  dispose(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.viewing?.dispose();
    disposeAll(this.owned);
  }

  private onVisible(visible: boolean): void {
    if (visible) {
      this.viewing ??= this.services.runs.view();
    } else {
      this.viewing?.dispose();
      this.viewing = null;
    }
  }

  private redrawSoon(): void {
    this.timer ??= setTimeout(() => this.redraw(), SETTLE);
  }

  private redraw(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const { runs } = this.services;
    const before = this.roots;
    this.roots = buildTree(runs.entries, runs.experimentFiles, this.treeOptions);
    this.index();
    this.describe();
    const changes = treeChanges(before, this.roots);
    if (changes === 'all') this.changeEmitter.fire(undefined);
    else if (changes.length > 0) this.changeEmitter.fire(changes.flatMap(({ id }) => this.elements.get(id) ?? []));
  }

  private queuedElements(): ExplorerElement[] {
    return [...this.elements.values()].filter(
      ({ node }) => node.type === 'run' && node.entry.kind === 'run' && node.entry.state === 'queued',
    );
  }

  private index(): void {
    const before = this.elements;
    this.elements = new Map();
    this.parents.clear();
    const add = (node: ExplorerNode): ExplorerElement => {
      const element = before.get(node.id) ?? { id: node.id, node };
      element.node = node;
      this.elements.set(node.id, element);
      return element;
    };
    for (const root of this.roots) {
      const parent = add(root);
      for (const child of childrenOf(root)) {
        add(child);
        this.parents.set(child.id, parent);
      }
    }
  }

  private describe(): void {
    const { filter, sort } = this.treeOptions;
    const { runs } = this.services;
    const live = runs.live.filter((entry) => entry.kind !== 'run' || entry.state !== 'queued').length;
    this.tree.description = sort === 'perplexity' ? l10n.t('by perplexity') : '';
    this.tree.badge =
      live === 0
        ? undefined
        : { value: live, tooltip: live === 1 ? l10n.t('1 run in progress') : l10n.t('{0} runs in progress', live) };
    if (filter === '') this.tree.message = '';
    else if (this.roots.length === 0) this.tree.message = l10n.t('No run matches "{0}".', filter);
    else this.tree.message = l10n.t('Filter: {0}', filter);
  }
}

function themeIcon({ id, color }: IconSpec): ThemeIcon {
  return new ThemeIcon(id, color === undefined ? undefined : new ThemeColor(color));
}

function runItem({ entry, id, below }: RunNode, place: Place | null): TreeItem {
  const label = below || entry.kind === 'broken' ? runLabel(entry) : nameAndTime(entry);
  const item = new TreeItem(label, TreeItemCollapsibleState.None);
  item.id = id;
  const star = entry.kind === 'run' && entry.notes.star === true ? '★ ' : '';
  const waits = place === null ? '' : ` · ${l10n.t('number {0} of {1}', place.position, place.of)}`;
  item.description = `${star}${runDescription(entry)}${waits}`;
  item.iconPath = themeIcon(iconOf(entry));
  item.contextValue = contextWords(entry);
  const state = stateName(entry.kind === 'run' ? entry.state : 'broken');
  item.accessibilityInformation = { label: `${label}, ${state}, ${item.description}` };
  if (entry.kind === 'run') {
    item.command = { command: 'lrqat.openCharts', title: l10n.t('Open Live Charts'), arguments: [entry.directory] };
  } else {
    item.tooltip = entry.reason;
  }
  return item;
}

function nameAndTime(entry: RunEntry): string {
  const [title, label] = [runTitle(entry), runLabel(entry)];
  return title === label ? title : `${title}  ${label}`;
}

function experimentItem(node: ExperimentNode, element: ExplorerElement): TreeItem {
  const item = groupItem(
    node.id,
    node.label,
    node.runs,
    { id: 'beaker' },
    node.file === null ? 'orphan' : 'experiment',
  );
  if (node.file === null) {
    item.tooltip = l10n.t('The experiment file is not in this workspace.');
    return item;
  }
  item.tooltip = node.file;
  // Problems of the file and its git state colour the label; the icon stays ours.
  item.resourceUri = Uri.file(node.file);
  if (node.runs.length === 0) {
    item.command = { command: 'lrqat.openExperiment', title: l10n.t('Open Experiment'), arguments: [element] };
  }
  return item;
}

function groupItem(id: string, label: string, runs: readonly RunNode[], icon: IconSpec, context: string): TreeItem {
  const state =
    runs.length === 0
      ? TreeItemCollapsibleState.None
      : runs.length > 50
        ? TreeItemCollapsibleState.Collapsed
        : TreeItemCollapsibleState.Expanded;
  const item = new TreeItem(label, state);
  item.id = id;
  item.iconPath = themeIcon(icon);
  item.contextValue = context;
  item.description = groupDescription(runs);
  return item;
}

function groupDescription(runs: readonly RunNode[]): string {
  if (runs.length === 0) return l10n.t('no runs yet');
  const best = bestOf(runs);
  const value = best === null ? null : perplexityOf(best);
  const count = runs.length === 1 ? l10n.t('1 run') : l10n.t('{0} runs', runs.length);
  return value === null ? count : l10n.t('{0} · best {1}', count, showNumber(value, 'perplexity'));
}

function runTooltip(entry: RunEntry, size: { readonly total: number; readonly checkpoints: number }): MarkdownString {
  const text = new MarkdownString('', true);
  if (entry.kind === 'broken') {
    text.appendText(`${entry.name}: ${entry.reason}`);
    return text;
  }
  text.appendMarkdown(`$(${iconOf(entry).id.replace('~spin', '')}) `);
  text.appendText(`${runTitle(entry)} – ${stateName(entry.state)}`);
  const { note, tags } = entry.notes;
  if (tags !== undefined && tags.length > 0) text.appendText(`\n${tags.map((tag) => `#${tag}`).join(' ')}`);
  if (note !== undefined && note !== '') text.appendText(`\n\n${note}`);
  if (entry.status.error !== null) {
    text.appendText(`\n\n${entry.status.error.message}`);
    if (entry.status.error.hint !== undefined) text.appendText(`\n${entry.status.error.hint}`);
  }
  text.appendMarkdown('\n\n| | |\n|:--|:--|\n');
  const disk = `${formatBytes(size.total)} (${l10n.t('checkpoints {0}', formatBytes(size.checkpoints))})`;
  for (const [name, value] of [...runFacts(entry, Date.now()), [l10n.t('On disk'), disk] as const]) {
    text.appendMarkdown(`| ${name} | ${value.replaceAll('|', '\\|')} |\n`);
  }
  text.appendMarkdown('\n');
  text.appendText(entry.name);
  return text;
}
