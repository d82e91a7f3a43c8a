// Show Queue, Add to Queue, and what can be done with a waiting run.
import path from 'node:path';
import { commands } from 'vscode';
import { UserError } from '../../errors';
import { cancelQueued, enqueue, moveInQueue, type ListedRun, type Move } from '../../runs';
import { pickRuns } from '../commands/pick-runs';
import { QUEUE_VIEW, type RunTarget } from '../contributions';
import type { ExplorerElement } from '../explorer/tree-model';
import { setContext } from '../register';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { resumeRun } from '../start/start-run';
import { requireTrust } from '../trust';
import { experimentFileOf, queueExperiment } from '../start/start-training';
import { deviceOfRun } from './queue-device';

export function registerQueue(services: Services): void {
  const { context, register, queue } = services;
  const move = (to: Move, title: string) => async (target?: RunTarget, selection?: readonly ExplorerElement[]) => {
    requireTrust(l10n.t('Controlling runs'));
    const runs = await pickRuns(target, selection, { word: 'queued', title, many: true }, services);
    for (const [folder, theirs] of byFolder(runs)) {
      await moveInQueue(
        folder,
        theirs.map(({ name }) => name),
        to,
      );
    }
    await queue.refresh();
  };
  context.subscriptions.push(
    register('lrqat.showQueue', async () => {
      setContext('lrqat.queueShown', true);
      await commands.executeCommand(`${QUEUE_VIEW}.focus`);
    }),
    register('lrqat.queueUp', move('up', l10n.t('Move Up'))),
    register('lrqat.queueDown', move('down', l10n.t('Move Down'))),
    register('lrqat.queueFirst', move('first', l10n.t('Move to the Front'))),
    register('lrqat.queueLast', move('last', l10n.t('Let All Others Go First'))),
    register('lrqat.queueCancel', async (target, selection) => {
      requireTrust(l10n.t('Controlling runs'));
      const options = { word: 'queued', title: l10n.t('Take out of the Queue'), many: true };
      for (const run of await pickRuns(target, selection, options, services)) {
        if (!(await cancelQueued(run.directory))) throw started(run);
      }
      await queue.refresh();
    }),
    register('lrqat.queueStart', async (target, selection) => {
      requireTrust(l10n.t('Training'));
      const options = { word: 'queued', title: l10n.t('Start Now') };
      const { engine, runs } = services;
      const launch = { nodePath: engine.nodePath(), environment: engine.environment() };
      for (const run of await pickRuns(target, selection, options, services)) {
        await resumeRun(run.directory, launch);
        runs.refresh([run.directory]);
      }
      await queue.refresh();
    }),
    register('lrqat.addToQueue', async (target, selection) => {
      requireTrust(l10n.t('Training'));
      const isRun = typeof target === 'object' && 'node' in target && target.node.type === 'run';
      if (!isRun) {
        const file = await experimentFileOf(target, services);
        if (file !== undefined) await queueExperiment(file, services);
        return;
      }
      const options = { word: 'queueable', title: l10n.t('Add to Queue'), many: true };
      const runs = await pickRuns(target, selection, options, services);
      for (const run of runs) await enqueue(run.directory, await deviceOfRun(run.directory, services.engine));
      for (const folder of byFolder(runs).keys()) await queue.advance(folder);
      await queue.refresh();
    }),
  );
}

function byFolder(runs: readonly ListedRun[]): Map<string, ListedRun[]> {
  const folders = new Map<string, ListedRun[]>();
  for (const run of runs) {
    const folder = path.dirname(run.directory);
    folders.set(folder, [...(folders.get(folder) ?? []), run]);
  }
  return folders;
}

function started(run: ListedRun): UserError {
  return new UserError('RunNotQueued', l10n.t('{0} does not wait any more: it has just been started', runTitle(run)));
}
