// Which runs to lay over those that a panel shows.
import { window } from 'vscode';
import { runDescription, runLabel, runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';

/** Run directories; empty when the user has picked none. */
export async function pickMoreRuns(
  shown: readonly string[],
  { runs }: Services,
  title = l10n.t('Lay Over More Runs'),
): Promise<readonly string[]> {
  await runs.loaded;
  const items = runs.entries
    .filter((entry) => entry.kind === 'run' && !shown.includes(entry.directory))
    .sort((one, other) => (one.name < other.name ? 1 : -1))
    .map((entry) => ({
      label: runTitle(entry),
      description: runDescription(entry),
      detail: runLabel(entry),
      directory: entry.directory,
    }));
  if (items.length === 0) {
    window.setStatusBarMessage(l10n.t('There is no other run.'), 4_000);
    return [];
  }
  const picked = await window.showQuickPick(items, {
    title,
    canPickMany: true,
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return (picked ?? []).map(({ directory }) => directory);
}
