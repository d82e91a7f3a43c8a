// Compare Runs, and panels that come back after a reload.
import { Uri, window, type WebviewPanel } from 'vscode';
import { panelState } from '../../../webview/compare/protocol';
import { pickRuns } from '../commands/pick-runs';
import { COMPARE_PANEL } from '../contributions';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { ComparePanel } from './compare-panel';

export function registerCompare(services: Services): void {
  const { context, register } = services;
  const panels = new Set<ComparePanel>();
  const keep = (panel: ComparePanel): void => {
    panels.add(panel);
    panel.panel.onDidDispose(() => panels.delete(panel));
  };
  context.subscriptions.push(
    register('lrqat.compareRuns', async (target, selection) => {
      const options = { title: l10n.t('Compare Runs'), many: true };
      const runs = await pickRuns(target, selection, options, services);
      // Oldest first, as in the folder: the first is the baseline.
      const directories = runs.map(({ directory }) => directory).sort();
      if (directories.length === 0) return;
      const same = [...panels].find((panel) => isSame(panel.directories, directories));
      if (same !== undefined) same.reveal();
      else keep(ComparePanel.create(directories, services));
    }),
    window.registerWebviewPanelSerializer(COMPARE_PANEL, {
      deserializeWebviewPanel(panel: WebviewPanel, value: unknown) {
        const directories = storedDirectories(value);
        if (directories.length === 0) panel.dispose();
        else keep(new ComparePanel(panel, directories, services));
        return Promise.resolve();
      },
    }),
    { dispose: () => panels.forEach((panel) => panel.dispose()) },
  );
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((directory) => other.includes(directory));
}

/** The page's state came from a page: only file URIs count. */
function storedDirectories(value: unknown): string[] {
  return (panelState(value)?.runs ?? []).flatMap((id) => {
    const uri = Uri.parse(id);
    return uri.scheme === 'file' ? [uri.fsPath] : [];
  });
}
