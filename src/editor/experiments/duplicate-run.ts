// Duplicate as New Experiment: what a run has trained, as a file to change and start again.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Uri, window, workspace } from 'vscode';
import { UserError } from '../../errors';
import { nameOf, parseExperiment } from '../../experiment/parse';
import { atomicWriteFile } from '../../formats/atomic-file';
import { runPaths, type ListedRun } from '../../runs';
import { pickRuns } from '../commands/pick-runs';
import { EXPERIMENT_SUFFIX } from '../contributions';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { duplicateText, nextName } from './duplicate';

export function registerDuplicate(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.duplicate', async (target) => {
      const options = { title: l10n.t('Duplicate as New Experiment') };
      const [run] = await pickRuns(target, undefined, options, services);
      if (run !== undefined) await duplicate(run);
    }),
  );
}

async function duplicate(run: ListedRun): Promise<void> {
  const frozen = runPaths(run.directory).experiment;
  const { experiment, problems } = parseExperiment(await readFile(frozen, 'utf8'), frozen);
  if (experiment === undefined) {
    throw new UserError('DamagedExperiment', l10n.t('{0} cannot be read: {1}', frozen, problems[0]?.message ?? ''));
  }
  const source = run.origin.experimentFile;
  const besideSource = source !== null && existsSync(path.dirname(source)) ? path.dirname(source) : undefined;
  const folder = besideSource ?? workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (folder === undefined) throw new UserError('NoFolder', l10n.t('Open a folder first: the new file is made in it'));
  const fileOf = (name: string): string => path.join(folder, `${name}${EXPERIMENT_SUFFIX}`);
  const base = source === null ? experiment.name : nameOf(source);
  const name = nextName(base, (candidate) => existsSync(fileOf(candidate)));
  await atomicWriteFile(fileOf(name), duplicateText(experiment, folder, name, run.name));
  await window.showTextDocument(Uri.file(fileOf(name)));
}
