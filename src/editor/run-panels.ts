// Panels that show some runs (live charts, comparison): one for each set of runs, back after a reload of the window.
import { Uri, window, type WebviewPanel } from 'vscode';
import { pickRuns } from './commands/pick-runs';
import type { Services } from './services';

interface RunPanel {
  readonly panel: WebviewPanel;
  readonly directories: readonly string[];
  reveal(): void;
  /** Stops looking at the runs; the page itself stays, for the window that comes next. */
  dispose(): void;
}

export interface RunPanelKind<Panel extends RunPanel> {
  readonly command: 'lrqat.openCharts' | 'lrqat.compareRuns';
  /** Of the list to pick runs from. */
  readonly title: string;
  readonly viewType: string;
  /** The state that a page has kept, checked; null: not one. */
  state(value: unknown): { readonly runs: readonly string[] } | null;
  /** The order in which picked runs are shown; default: as picked. */
  arrange?(directories: readonly string[]): readonly string[];
  create(directories: readonly string[]): Panel;
  revive(panel: WebviewPanel, directories: readonly string[]): Panel;
}

export function registerRunPanels<Panel extends RunPanel>(kind: RunPanelKind<Panel>, services: Services): void {
  const { context, register } = services;
  const panels = new Set<Panel>();
  const keep = (panel: Panel): void => {
    panels.add(panel);
    panel.panel.onDidDispose(() => panels.delete(panel));
  };
  context.subscriptions.push(
    register(kind.command, async (target, selection) => {
      const picked = await pickRuns(target, selection, { title: kind.title, many: true }, services);
      const found = picked.map(({ directory }) => directory);
      const directories = kind.arrange?.(found) ?? found;
      if (directories.length === 0) return;
      const same = [...panels].find((panel) => isSame(panel.directories, directories));
      if (same !== undefined) same.reveal();
      else keep(kind.create(directories));
    }),
    window.registerWebviewPanelSerializer(kind.viewType, {
      deserializeWebviewPanel(panel: WebviewPanel, value: unknown) {
        const directories = storedDirectories(kind.state(value)?.runs ?? []);
        if (directories.length === 0) panel.dispose();
        else keep(kind.revive(panel, directories));
        return Promise.resolve();
      },
    }),
    { dispose: () => panels.forEach((panel) => panel.dispose()) },
  );
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((directory) => other.includes(directory));
}

/** The state came from a page: only file URIs count, and a folder that is no run shows as one that cannot be read. */
function storedDirectories(ids: readonly string[]): string[] {
  return ids.flatMap((id) => {
    const uri = Uri.parse(id);
    return uri.scheme === 'file' ? [uri.fsPath] : [];
  });
}
