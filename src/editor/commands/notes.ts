// Rename, tags, star and note: what the user adds to a run.
import { window } from 'vscode';
import { changeNotes, readNotes, type ListedRun, type RunNotes } from '../../runs';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { pickRuns } from './pick-runs';
import { parseTags } from './tags';

export function registerNotes(services: Services): void {
  const { context, register } = services;
  // What a box starts with is read anew: the list may be older than the last change, which would be lost.
  const change = async (runs: readonly ListedRun[], notes: RunNotes): Promise<void> => {
    for (const { directory } of runs) await changeNotes(directory, notes);
    services.runs.refresh(runs.map(({ directory }) => directory));
  };
  context.subscriptions.push(
    register('lrqat.renameRun', async (target) => {
      const [run] = await pickRuns(target, undefined, { title: l10n.t('Rename') }, services);
      if (run === undefined) return;
      const name = await window.showInputBox({
        title: l10n.t('Rename {0}', run.name),
        prompt: l10n.t('Leave it empty for the name that says when the run was started.'),
        value: (await readNotes(run.directory)).name ?? '',
      });
      if (name !== undefined) await change([run], { name: name.trim() });
    }),
    register('lrqat.tagRun', async (target, selection) => {
      const runs = await pickRuns(target, selection, { title: l10n.t('Edit Tags'), many: true }, services);
      const [first] = runs;
      if (first === undefined) return;
      const tags = await window.showInputBox({
        title: runs.length === 1 ? l10n.t('Tags of {0}', runTitle(first)) : l10n.t('Tags of {0} runs', runs.length),
        prompt: l10n.t('Separated by blanks or commas'),
        value: ((await readNotes(first.directory)).tags ?? []).join(', '),
      });
      if (tags !== undefined) await change(runs, { tags: parseTags(tags) });
    }),
    register('lrqat.starRun', async (target, selection) => {
      const options = { word: 'unstarred', title: l10n.t('Star'), many: true };
      await change(await pickRuns(target, selection, options, services), { star: true });
    }),
    register('lrqat.unstarRun', async (target, selection) => {
      const options = { word: 'starred', title: l10n.t('Remove Star'), many: true };
      await change(await pickRuns(target, selection, options, services), { star: false });
    }),
    register('lrqat.noteRun', async (target) => {
      const [run] = await pickRuns(target, undefined, { title: l10n.t('Edit Note') }, services);
      if (run === undefined) return;
      const note = await window.showInputBox({
        title: l10n.t('Note on {0}', runTitle(run)),
        value: (await readNotes(run.directory)).note ?? '',
      });
      if (note !== undefined) await change([run], { note: note.trim() });
    }),
  );
}
