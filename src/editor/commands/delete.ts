// Delete Run and Delete Checkpoints: modal, with the size.
import { env, ProgressLocation, UIKind, Uri, window, workspace } from 'vscode';
import { UserError } from '../../errors';
import { formatBytes } from '../../experiment/format-numbers';
import { diskUsage, isLive, listCheckpoints, pruneCheckpoints, type RunEntry } from '../../runs';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { requireTrust } from '../trust';
import { pickEntries, pickRuns } from './pick-runs';

export function registerDelete(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.deleteRun', async (target, selection) => {
      requireTrust(l10n.t('Deleting runs'));
      const options = { title: l10n.t('Delete Run'), many: true };
      await deleteRuns(await pickEntries(target, selection, options, services), services);
    }),
    register('lrqat.deleteCheckpoints', async (target, selection) => {
      requireTrust(l10n.t('Deleting checkpoints'));
      const options = { word: 'ended', title: l10n.t('Delete Checkpoints'), many: true };
      await deleteCheckpoints(await pickRuns(target, selection, options, services), services);
    }),
  );
}

async function deleteRuns(entries: readonly RunEntry[], { runs, log }: Services): Promise<void> {
  const [first] = entries;
  if (first === undefined) return;
  runs.refresh(entries.map(({ directory }) => directory));
  const live = entries.find((entry) => isLive(runs.get(entry.directory) ?? entry) && !isStale(entry));
  if (live !== undefined) {
    throw new UserError('RunInUse', l10n.t('{0} is still in training; stop it before it is deleted', runTitle(live)));
  }
  const bytes = await sum(entries, async ({ directory }) => (await diskUsage(directory)).total);
  // Servers and browsers have no trash.
  const useTrash = env.remoteName === undefined && env.uiKind === UIKind.Desktop;
  const size = formatBytes(bytes);
  const message =
    entries.length === 1
      ? l10n.t('Delete {0} ({1})?', runTitle(first), size)
      : l10n.t('Delete {0} runs ({1})?', entries.length, size);
  const fate = useTrash ? l10n.t('They go to the trash.') : l10n.t('There is no trash here: this cannot be undone.');
  const yes = useTrash ? l10n.t('Move to Trash') : l10n.t('Delete Permanently');
  const detail = `${namesOf(entries)}\n\n${fate}`;
  if ((await window.showWarningMessage(message, { modal: true, detail }, yes)) !== yes) return;
  await window.withProgress({ location: ProgressLocation.Window, title: l10n.t('Deleting …') }, async () => {
    for (const { directory } of entries) {
      await workspace.fs.delete(Uri.file(directory), { recursive: true, useTrash });
      log.info(`deleted ${directory} (${useTrash ? 'to the trash' : 'permanently'})`);
    }
  });
  await runs.reconcile();
}

const isStale = (entry: RunEntry): boolean => entry.kind === 'run' && entry.state === 'stale';

async function deleteCheckpoints(entries: readonly RunEntry[], { runs, log }: Services): Promise<void> {
  const [first] = entries;
  if (first === undefined) return;
  const bytes = await sum(entries, async ({ directory }) => (await diskUsage(directory)).checkpoints);
  if (bytes === 0) {
    throw new UserError('NoCheckpoints', l10n.t('{0} has no checkpoints', runTitle(first)));
  }
  const keep = l10n.t('Keep the Newest');
  const everything = l10n.t('Delete All');
  const size = formatBytes(bytes);
  const message =
    entries.length === 1
      ? l10n.t('Delete the checkpoints of {0} ({1})?', runTitle(first), size)
      : l10n.t('Delete the checkpoints of {0} runs ({1})?', entries.length, size);
  const loss = l10n.t('Without checkpoints a run that has not finished starts again from the beginning.');
  const detail = `${namesOf(entries)}\n\n${loss}`;
  const answer = await window.showWarningMessage(message, { modal: true, detail }, keep, everything);
  if (answer === undefined) return;
  for (const { directory, name } of entries) {
    if (answer === keep) await pruneCheckpoints(directory, 1, null);
    else {
      for (const checkpoint of await listCheckpoints(directory)) {
        await workspace.fs.delete(Uri.file(checkpoint.directory), { recursive: true, useTrash: false });
      }
    }
    log.info(`deleted checkpoints of ${name} (${answer})`);
  }
  runs.refresh(entries.map(({ directory }) => directory));
}

/** Names of the folders, a line each: runs of one experiment share their title. */
function namesOf(entries: readonly RunEntry[]): string {
  const names = entries.slice(0, 8).map(({ name }) => name);
  const more = entries.length > names.length ? `\n… ${l10n.t('and {0} more', entries.length - names.length)}` : '';
  return `${names.join('\n')}${more}`;
}

async function sum<Item>(items: readonly Item[], bytes: (item: Item) => Promise<number>): Promise<number> {
  let total = 0;
  for (const item of items) total += await bytes(item);
  return total;
}
