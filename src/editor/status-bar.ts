// One status bar item: what trains now, how far it is, how long it will take.
import { MarkdownString, StatusBarAlignment, window, type Disposable, type StatusBarItem } from 'vscode';
import type { ListedRun } from '../runs';
import { runDescription, runTitle } from './explorer/run-text';
import { l10n } from './l10n';
import { statusBarText } from './status-bar-text';
import type { WorkspaceRuns } from './workspace-runs';

export class StatusBar implements Disposable {
  private readonly item: StatusBarItem;
  private readonly subscription: Disposable;

  constructor(private readonly runs: WorkspaceRuns) {
    this.item = window.createStatusBarItem('lrqat.runs', StatusBarAlignment.Left, 10);
    this.item.name = l10n.t('LR-QAT training');
    this.subscription = runs.onDelta(() => this.update());
    this.update();
  }

  dispose(): void {
    this.subscription.dispose();
    this.item.dispose();
  }

  private update(): void {
    const live = this.runs.live.flatMap((entry) => (entry.kind === 'run' && entry.state !== 'stale' ? [entry] : []));
    const shown = statusBarText(live);
    if (shown === null) {
      this.item.hide();
      return;
    }
    this.item.text = shown.text;
    this.item.command =
      shown.run.state === 'queued'
        ? { command: 'lrqat.showQueue', title: l10n.t('Show Queue') }
        : { command: 'lrqat.openCharts', title: l10n.t('Open Live Charts'), arguments: [shown.run.directory] };
    this.item.tooltip = tooltip(live);
    this.item.accessibilityInformation = { label: shown.text.replace(/\$\([^)]*\)\s*/g, '') };
    this.item.show();
  }
}

function tooltip(live: readonly ListedRun[]): MarkdownString {
  const text = new MarkdownString('', true);
  for (const run of live) {
    text.appendText(`${runTitle(run)}: ${runDescription(run)}`);
    text.appendMarkdown('\n\n');
  }
  text.appendMarkdown(l10n.t('Select for the live charts.'));
  return text;
}
