// Evaluate: perplexity of a run's weights on texts that the user names, in a terminal.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ThemeIcon, Uri, window, workspace, type QuickPickItem } from 'vscode';
import { parseExperiment } from '../../experiment/parse';
import { runPaths, type ListedRun } from '../../runs';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { runInTerminal } from '../tasks';
import { requireTrust } from '../trust';
import { pickRuns } from './pick-runs';

export function registerEvaluate(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.evaluate', async (target) => {
      requireTrust(l10n.t('Evaluation'));
      const options = { title: l10n.t('Evaluate') };
      const [run] = await pickRuns(target, undefined, options, services);
      if (run === undefined) return;
      const texts = await pickTexts(run);
      if (texts.length === 0) return;
      const args = ['evaluate', run.directory, '--data', ...texts];
      const cwd = workspace.workspaceFolders?.[0]?.uri.fsPath ?? run.directory;
      await runInTerminal(l10n.t('evaluate {0}', runTitle(run)), args, cwd, services);
    }),
  );
}

interface TextItem extends QuickPickItem {
  /** Absent: the user browses. */
  readonly files?: readonly string[];
}

async function pickTexts(run: ListedRun): Promise<readonly string[]> {
  const own = await validationTexts(run);
  const items: TextItem[] = [
    ...(own.length === 0
      ? []
      : [
          {
            label: l10n.t('The validation texts of the run'),
            detail: own.map((file) => path.basename(file)).join(', '),
            iconPath: new ThemeIcon('beaker'),
            files: own,
          },
        ]),
    { label: l10n.t('Browse …'), detail: '.txt, .jsonl, .parquet, .bin', iconPath: new ThemeIcon('folder-opened') },
  ];
  const picked = await window.showQuickPick(items, { title: l10n.t('Evaluate {0} on Which Texts?', runTitle(run)) });
  if (picked === undefined) return [];
  if (picked.files !== undefined) return picked.files;
  const folder = workspace.workspaceFolders?.[0]?.uri ?? Uri.file(run.directory);
  const files = await window.showOpenDialog({
    title: l10n.t('Texts to Evaluate On'),
    openLabel: l10n.t('Evaluate'),
    canSelectMany: true,
    defaultUri: folder,
    filters: { [l10n.t('Texts')]: ['txt', 'jsonl', 'parquet', 'bin'] },
  });
  return (files ?? []).map(({ fsPath }) => fsPath);
}

async function validationTexts({ directory }: ListedRun): Promise<readonly string[]> {
  const file = runPaths(directory).experiment;
  const text = await readFile(file, 'utf8').catch(() => '');
  return parseExperiment(text, file).experiment?.data.validation ?? [];
}
