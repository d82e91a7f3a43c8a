// Dialogs of the form.
import { Uri, window } from 'vscode';
import { pickModel } from '../experiments/new-experiment';
import { l10n } from '../l10n';

export function pickModelFor(folder: string): Promise<string | undefined> {
  return pickModel(folder, l10n.t('Model'));
}

/** Absolute paths. */
export async function pickFiles(folder: string): Promise<readonly string[]> {
  const picked = await window.showOpenDialog({
    title: l10n.t('Texts'),
    openLabel: l10n.t('Add'),
    canSelectMany: true,
    defaultUri: Uri.file(folder),
    filters: { [l10n.t('Texts')]: ['txt', 'jsonl', 'parquet', 'bin'], [l10n.t('All files')]: ['*'] },
  });
  return (picked ?? []).map(({ fsPath }) => fsPath);
}
