// A notification when a run ends well or badly, and at no other time.
import { window, type Disposable } from 'vscode';
import type { DerivedState, RunEntry } from '../runs';
import { endSentence } from './explorer/run-text';
import { l10n } from './l10n';
import { executeCommand } from './register';
import { setting } from './settings';
import type { WorkspaceRuns } from './workspace-runs';

const TOLD: ReadonlySet<DerivedState> = new Set(['finished', 'failed', 'crashed']);

export class EndNotifier implements Disposable {
  /** States as last seen: only an end that came while somebody was there is news. */
  private readonly states = new Map<string, DerivedState>();
  private readonly subscription: Disposable;

  constructor(runs: WorkspaceRuns) {
    for (const entry of runs.entries) this.remember(entry);
    this.subscription = runs.onDelta(({ added, changed, removed }) => {
      for (const entry of added) this.remember(entry);
      for (const directory of removed) this.states.delete(directory);
      for (const entry of changed) this.onChange(entry);
    });
  }

  dispose(): void {
    this.subscription.dispose();
  }

  private remember(entry: RunEntry): void {
    if (entry.kind === 'run') this.states.set(entry.directory, entry.state);
  }

  private onChange(entry: RunEntry): void {
    if (entry.kind !== 'run') return;
    const before = this.states.get(entry.directory);
    this.states.set(entry.directory, entry.state);
    if (before === entry.state || before === undefined || TOLD.has(before) || !TOLD.has(entry.state)) return;
    const wanted = setting('lrqat.notifications');
    if (wanted === 'none' || (wanted === 'failures' && entry.state === 'finished')) return;
    const { directory } = entry;
    if (entry.state === 'finished') {
      const open = l10n.t('Open Live Charts');
      void window.showInformationMessage(endSentence(entry), open).then((answer) => {
        if (answer === open) void executeCommand('lrqat.openCharts', directory);
      });
    } else {
      const log = l10n.t('Show Log');
      void window.showErrorMessage(endSentence(entry), log).then((answer) => {
        if (answer === log) void executeCommand('lrqat.showLog', directory);
      });
    }
  }
}
