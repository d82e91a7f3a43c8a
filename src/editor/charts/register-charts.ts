// Open Live Charts, and panels that come back after a reload.
import { Uri, window, type WebviewPanel } from 'vscode';
import { panelState } from '../../../webview/charts/protocol';
import { CHARTS_PANEL } from '../contributions';
import { pickRuns } from '../commands/pick-runs';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { ChartsPanel } from './charts-panel';

export function registerCharts(services: Services): void {
  const { context, register } = services;
  const panels = new Set<ChartsPanel>();
  const keep = (panel: ChartsPanel): void => {
    panels.add(panel);
    panel.panel.onDidDispose(() => panels.delete(panel));
  };
  context.subscriptions.push(
    register('lrqat.openCharts', async (target, selection) => {
      const options = { title: l10n.t('Open Live Charts'), many: true };
      const runs = await pickRuns(target, selection, options, services);
      const directories = runs.map(({ directory }) => directory);
      if (directories.length === 0) return;
      const same = [...panels].find((panel) => isSame(panel.directories, directories));
      if (same !== undefined) same.reveal();
      else keep(ChartsPanel.create(directories, services));
    }),
    window.registerWebviewPanelSerializer(CHARTS_PANEL, {
      deserializeWebviewPanel(panel: WebviewPanel, value: unknown) {
        const directories = storedDirectories(value);
        if (directories.length === 0) panel.dispose();
        else keep(new ChartsPanel(panel, directories, services));
        return Promise.resolve();
      },
    }),
    { dispose: () => panels.forEach((panel) => panel.dispose()) },
  );
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((directory) => other.includes(directory));
}

/** The page's state came from a page: only file URIs count, and a folder that is no run shows as one that cannot be read. */
function storedDirectories(value: unknown): string[] {
  return (panelState(value)?.runs ?? []).flatMap((id) => {
    const uri = Uri.parse(id);
    return uri.scheme === 'file' ? [uri.fsPath] : [];
  });
}
