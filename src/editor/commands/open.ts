// Opening what belongs to a run or an experiment: folder, path, log, file.
import { commands, env, Uri, window, workspace } from 'vscode';
import { existsSync } from 'node:fs';
import { runPaths } from '../../runs';
import type { ExplorerView } from '../explorer/explorer-view';
import { DEFAULT_TREE_OPTIONS, type Grouping, type SortOrder } from '../explorer/tree-model';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { experimentFileOf } from '../start/start-training';
import { pickEntries, pickRuns } from './pick-runs';

export function registerOpen(services: Services): void {
  const { context, register, log } = services;
  context.subscriptions.push(
    register('lrqat.openExperiment', async (target) => {
      const file = await experimentFileOf(target, services);
      if (file !== undefined) await window.showTextDocument(Uri.file(file));
    }),
    register('lrqat.revealRun', async (target, selection) => {
      const [run] = await pickEntries(target, selection, { title: l10n.t('Reveal Run Folder') }, services);
      if (run === undefined) return;
      const folder = Uri.file(run.directory);
      // The explorer shows it where it can; a folder outside of the workspace needs the system's file manager.
      const inside = workspace.getWorkspaceFolder(folder) !== undefined;
      await commands.executeCommand(inside ? 'revealInExplorer' : 'revealFileInOS', folder);
    }),
    register('lrqat.copyRunPath', async (target, selection) => {
      const runs = await pickEntries(target, selection, { title: l10n.t('Copy Run Path') }, services);
      if (runs.length === 0) return;
      await env.clipboard.writeText(runs.map(({ directory }) => directory).join('\n'));
      window.setStatusBarMessage(l10n.t('$(check) Path copied'), 2_000);
    }),
    register('lrqat.showLog', async (target, selection) => {
      if (target === undefined && services.runs.entries.length === 0) {
        log.show();
        return;
      }
      const [run] = await pickRuns(target, selection, { title: l10n.t('Show Log') }, services);
      if (run === undefined) return;
      const file = runPaths(run.directory).log;
      if (!existsSync(file)) {
        log.show();
        return;
      }
      await window.showTextDocument(Uri.file(file), { preview: true });
      // Where a log is read is its end.
      await commands.executeCommand('cursorBottom');
    }),
  );
}

export function registerExplorerOptions(services: Services, explorer: ExplorerView): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.refresh', () => services.runs.rescan()),
    register('lrqat.filter', async () => {
      const filter = await window.showInputBox({
        title: l10n.t('Filter Runs'),
        prompt: l10n.t('Words in names, tags, notes or states; all must be there'),
        placeHolder: 'failed #ablation',
        value: explorer.options.filter,
      });
      if (filter !== undefined) explorer.setOptions({ filter: filter.trim() });
    }),
    register('lrqat.clearFilter', () => {
      explorer.setOptions({ filter: '' });
      return Promise.resolve();
    }),
    register('lrqat.sort', async () => {
      const choices: readonly { readonly label: string; readonly sort: SortOrder }[] = [
        { label: l10n.t('Newest first'), sort: 'newest' },
        { label: l10n.t('Best perplexity first'), sort: 'perplexity' },
      ];
      const items = choices.map((choice) => ({
        ...choice,
        description: choice.sort === explorer.options.sort ? l10n.t('current') : '',
      }));
      const picked = await window.showQuickPick(items, { title: l10n.t('Sort Runs') });
      if (picked !== undefined) explorer.setOptions({ sort: picked.sort });
    }),
    register('lrqat.group', async () => {
      const choices: readonly { readonly label: string; readonly group: Grouping }[] = [
        { label: l10n.t('By experiment'), group: DEFAULT_TREE_OPTIONS.group },
        { label: l10n.t('By state'), group: 'state' },
        { label: l10n.t('Not at all'), group: 'none' },
      ];
      const items = choices.map((choice) => ({
        ...choice,
        description: choice.group === explorer.options.group ? l10n.t('current') : '',
      }));
      const picked = await window.showQuickPick(items, { title: l10n.t('Group Runs') });
      if (picked !== undefined) explorer.setOptions({ group: picked.group });
    }),
  );
}
