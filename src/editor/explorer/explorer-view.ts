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
import { formatBytes } from '../../experiment/format-estimate';
import { diskUsage, type RunEntry } from '../../runs';
import { showNumber } from '../../compare/show';
import { EXPLORER_VIEW } from '../contributions';
import { l10n } from '../l10n';
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
import { bestOf, buildTree, childrenOf, treeChanges, type ExplorerNode, type RunNode, type TreeOptions } from './tree-model';
import { loadOptions, saveOptions } from './view-state';

/** Deltas within this time are drawn together. */
const SETTLE = 30;

export class ExplorerView implements TreeDataProvider<ExplorerNode>, Disposable {
  readonly tree: TreeView<ExplorerNode>;
  private readonly changeEmitter = new EventEmitter<ExplorerNode[] | undefined>();
  readonly onDidChangeTreeData = this.changeEmitter.event;
  private readonly disposables: Disposable[] = [];
  private roots: readonly ExplorerNode[] = [];
  private readonly parents = new Map<string, ExplorerNode>();
  private readonly nodes = new Map<string, ExplorerNode>();
  private viewing: Disposable | null = null;
  private timer: NodeJS.Timeout | null = null;
  private treeOptions: TreeOptions;

  constructor(private readonly services: Services) {
    this.treeOptions = loadOptions(services.context.workspaceState);
    this.tree = window.createTreeView<ExplorerNode>(EXPLORER_VIEW, {
      treeDataProvider: this,
      canSelectMany: true,
      showCollapseAll: true,
    });
    const { runs } = services;
    this.disposables.push(
      this.tree,
      this.changeEmitter,
      runs.onDelta(() => this.redrawSoon()),
      runs.onExperiments(() => this.redrawSoon()),
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
    const node = this.nodes.get(`run:${directory}`);
    if (node !== undefined) await this.tree.reveal(node, { select: true, focus: false, expand: true });
  }

  getChildren(node?: ExplorerNode): ExplorerNode[] {
    return [...(node === undefined ? this.roots : childrenOf(this.nodes.get(node.id) ?? node))];
  }

  getParent(node: ExplorerNode): ExplorerNode | undefined {
    return this.parents.get(node.id);
  }

  getTreeItem(node: ExplorerNode): TreeItem {
    // VS Code keeps the node objects it was first given; what they stand for may have changed since.
    const current = this.nodes.get(node.id) ?? node;
    switch (current.type) {
      case 'run':
        return runItem(current);
      case 'experiment':
        return experimentItem(current);
      case 'state':
        return groupItem(current.id, current.label, current.runs, stateIcon(current.state), 'state');
    }
  }

  async resolveTreeItem(item: TreeItem, node: ExplorerNode, token: CancellationToken): Promise<TreeItem> {
    const current = this.nodes.get(node.id) ?? node;
    if (current.type !== 'run') return item;
    const { total, checkpoints } = await diskUsage(current.entry.directory);
    if (!token.isCancellationRequested) item.tooltip = runTooltip(current.entry, { total, checkpoints });
    return item;
  }

  dispose(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.viewing?.dispose();
    for (const disposable of this.disposables) disposable.dispose();
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
    else if (changes.length > 0) this.changeEmitter.fire([...changes]);
  }

  private index(): void {
    this.nodes.clear();
    this.parents.clear();
    for (const root of this.roots) {
      this.nodes.set(root.id, root);
      for (const child of childrenOf(root)) {
        this.nodes.set(child.id, child);
        this.parents.set(child.id, root);
      }
    }
  }

  private describe(): void {
    const { filter, sort } = this.treeOptions;
    const { runs } = this.services;
    const live = runs.live.length;
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

function runItem({ entry, id, below }: RunNode): TreeItem {
  const label = below || entry.kind === 'broken' ? runLabel(entry) : nameAndTime(entry);
  const item = new TreeItem(label, TreeItemCollapsibleState.None);
  item.id = id;
  const star = entry.kind === 'run' && entry.notes.star === true ? '★ ' : '';
  item.description = `${star}${runDescription(entry)}`;
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

function experimentItem(node: Extract<ExplorerNode, { type: 'experiment' }>): TreeItem {
  const item = groupItem(node.id, node.label, node.runs, { id: 'beaker' }, node.file === null ? 'orphan' : 'experiment');
  if (node.file === null) {
    item.tooltip = l10n.t('The experiment file is not in this workspace.');
    return item;
  }
  item.tooltip = node.file;
  item.resourceUri = Uri.file(node.file);
  // With a resource the icon theme would decide; the beaker tells experiments from runs.
  if (node.runs.length === 0) {
    item.command = { command: 'lrqat.openExperiment', title: l10n.t('Open Experiment'), arguments: [node] };
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
