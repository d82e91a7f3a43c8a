// Measure Sensitivity: what rounding each linear alone costs, and mixed bits for a size, in a terminal; the map of it in a tab.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { window, workspace } from 'vscode';
import { EXPERIMENT_SUFFIX } from '../contributions';
import { nextName } from '../experiments/duplicate';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { experimentFileOf } from '../start/start-training';
import { runInTerminal } from '../tasks';
import { requireTrust } from '../trust';
import { reportFile, showWhenDone } from './sensitivity-map';

export function registerSensitivity(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.sensitivity', async (target) => {
      requireTrust(l10n.t('Measuring'));
      const file = await experimentFileOf(target, services);
      if (file === undefined) return;
      const name = path.basename(file, EXPERIMENT_SUFFIX);
      const budget = await pickBudget(name);
      if (budget === undefined) return;
      const document = workspace.textDocuments.find(({ uri }) => uri.fsPath === file);
      if (document?.isDirty === true && !(await document.save())) return;
      const folder = path.dirname(file);
      const report = await reportFile(context, name);
      const args = ['sensitivity', file, '--report', report];
      if (budget !== '') args.push('--budget', budget, '--write', mixedFile(folder, name));
      const execution = await runInTerminal(l10n.t('sensitivity of {0}', name), args, folder, services);
      showWhenDone(execution, name, report);
    }),
  );
}

/** Empty: only the map; undefined: the user has thought better of it. */
async function pickBudget(name: string): Promise<string | undefined> {
  const budget = await window.showInputBox({
    title: l10n.t('Sensitivity of {0}', name),
    prompt: l10n.t('Bits a weight for which to suggest mixed bits, in a new experiment; empty: only the map'),
    placeHolder: l10n.t('such as 2.6'),
    validateInput: (text) =>
      text.trim() === '' || (Number(text) >= 2 && Number(text) <= 9)
        ? undefined
        : l10n.t('A number from 2 to 9, or nothing'),
  });
  return budget?.trim();
}

/** A file beside the experiment that is not there yet. */
function mixedFile(folder: string, name: string): string {
  const fileOf = (stem: string): string => path.join(folder, `${stem}${EXPERIMENT_SUFFIX}`);
  const isTaken = (stem: string): boolean => existsSync(fileOf(stem));
  const wanted = `${name}-mixed`;
  return fileOf(isTaken(wanted) ? nextName(wanted, isTaken) : wanted);
}
