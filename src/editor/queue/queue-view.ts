// The view "Queue": what works and what waits, in the order in which it will start.
import { EventEmitter, ThemeColor, ThemeIcon, TreeItem, TreeItemCollapsibleState, window, type TreeView } from 'vscode';
import type { ListedRun } from '../../runs';
import { QUEUE_VIEW } from '../contributions';
import { contextWords, iconOf, runDescription, runTitle } from '../explorer/run-text';
import type { ExplorerElement } from '../explorer/tree-model';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import type { WorkspaceRuns } from '../workspace-runs';
import type { QueueKeeper } from './queue-keeper';

/** Deltas within this time are drawn together (milliseconds). */
const SETTLE = 50;

export class QueueView {
  private readonly tree: TreeView<ExplorerElement>;
  private readonly changeEmitter = new EventEmitter<ExplorerElement[] | undefined>();
  /** What is shown of each row, by id. */
  private drawn = new Map<string, string>();
  private readonly owned: Owned[];
  private readonly elements = new Map<string, ExplorerElement>();
  private timer: NodeJS.Timeout | null = null;

  constructor(
    runs: WorkspaceRuns,
    private readonly queue: QueueKeeper,
  ) {
    this.tree = window.createTreeView<ExplorerElement>(QUEUE_VIEW, {
      treeDataProvider: {
        onDidChangeTreeData: this.changeEmitter.event,
        getChildren: (element) => (element === undefined ? this.rows() : []),
        getTreeItem: (element) => this.item(element),
      },
      canSelectMany: true,
    });
    this.owned = [
      this.tree,
      this.changeEmitter,
      runs.onDelta(() => this.redrawSoon()),
      queue.onChange(() => this.redrawSoon()),
    ];
    this.describe();
  }

  dispose(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    disposeAll(this.owned);
  }

  private rows(): ExplorerElement[] {
    const { waiting, active } = this.queue;
    // Runs at work are of interest here only while others wait for them, or came from the queue themselves.
    const shown = active.filter(({ status }) => waiting.length > 0 || status.queue !== null);
    const rows = [...shown, ...waiting].map((run) => this.element(run));
    const ids = new Set(rows.map(({ id }) => id));
    for (const id of this.elements.keys()) if (!ids.has(id)) this.elements.delete(id);
    return rows;
  }

  private element(run: ListedRun): ExplorerElement {
    const id = `queue:${run.directory}`;
    const node = { type: 'run', id, entry: run, below: false } as const;
    const element = this.elements.get(id) ?? { id, node };
    element.node = node;
    this.elements.set(id, element);
    return element;
  }

  private item({ id, node }: ExplorerElement): TreeItem {
    if (node.type !== 'run' || node.entry.kind !== 'run') throw new Error('the queue has runs only');
    const run = node.entry;
    const place = this.queue.placeOf(run.directory);
    const item = new TreeItem(runTitle(run), TreeItemCollapsibleState.None);
    const { id: icon, color } = iconOf(run);
    item.id = id;
    item.description = place === null ? runDescription(run) : placeText(place.position, run);
    item.iconPath = new ThemeIcon(icon, color === undefined ? undefined : new ThemeColor(color));
    item.contextValue = contextWords(run);
    item.tooltip = run.name;
    item.accessibilityInformation = { label: `${runTitle(run)}, ${item.description}` };
    if (place === null) {
      item.command = { command: 'lrqat.openCharts', title: l10n.t('Open Live Charts'), arguments: [run.directory] };
    }
    return item;
  }

  private redrawSoon(): void {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.describe();
      this.redraw();
    }, SETTLE);
  }

  /** Only what has changed: a row that is drawn anew loses the menu that is open on it. */
  private redraw(): void {
    const rows = this.rows();
    const before = this.drawn;
    this.drawn = new Map(rows.map((row) => [row.id, this.textOf(row)]));
    const isSame = [...before.keys()].join('\n') === [...this.drawn.keys()].join('\n');
    const changed = rows.filter(({ id }) => before.get(id) !== this.drawn.get(id));
    if (!isSame) this.changeEmitter.fire(undefined);
    else if (changed.length > 0) this.changeEmitter.fire(changed);
  }

  private textOf(row: ExplorerElement): string {
    const { label, description, contextValue } = this.item(row);
    return JSON.stringify([label, description, contextValue]);
  }

  private describe(): void {
    const count = this.queue.waiting.length;
    this.tree.description = count === 0 ? '' : l10n.t('{0} waiting', count);
  }
}

function placeText(position: number, { status }: ListedRun): string {
  const number = l10n.t('number {0}', position);
  return status.queue === null || status.queue.device === 'cpu' ? number : `${number} · ${status.queue.device}`;
}
