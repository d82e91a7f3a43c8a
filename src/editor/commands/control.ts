// Pause, Resume, Stop and Checkpoint Now, from the explorer, the palette and the charts.
import { ProgressLocation, window } from 'vscode';
import { stopNow, latestComplete, sendControl, waitForAcknowledgement, type ListedRun } from '../../runs';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { resumeRun } from '../start/start-run';
import { requireTrust } from '../trust';
import { pickRuns } from './pick-runs';

/** How long a busy trainer may take before the user is told that it has not answered yet (milliseconds). */
const ANSWER = 30_000;

export function registerControl(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.pause', async (target, selection) => {
      requireTrust(l10n.t('Controlling runs'));
      const options = { word: 'pausable', title: l10n.t('Pause'), many: true };
      await all(await pickRuns(target, selection, options, services), (run) => pause(run, services));
    }),
    register('lrqat.resume', async (target, selection) => {
      requireTrust(l10n.t('Training'));
      const options = { word: 'resumable', title: l10n.t('Resume') };
      await all(await pickRuns(target, selection, options, services), (run) => resume(run, services));
    }),
    register('lrqat.stop', async (target, selection) => {
      requireTrust(l10n.t('Controlling runs'));
      const options = { word: 'stoppable', title: l10n.t('Stop'), many: true };
      await stop(await pickRuns(target, selection, options, services), services);
    }),
    register('lrqat.checkpointNow', async (target, selection) => {
      requireTrust(l10n.t('Controlling runs'));
      const options = { word: 'stoppable', title: l10n.t('Checkpoint Now'), many: true };
      await all(await pickRuns(target, selection, options, services), (run) => checkpoint(run, services));
    }),
  );
}

/** One after the other has ended well for all, or throws the first failure after all were tried. */
async function all(runs: readonly ListedRun[], action: (run: ListedRun) => Promise<void>): Promise<void> {
  const results = await Promise.allSettled(runs.map(action));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

async function pause(run: ListedRun, services: Services): Promise<void> {
  await ask(run, l10n.t('Pausing {0} …', runTitle(run)), 'pause', services);
}

async function resume(run: ListedRun, services: Services): Promise<void> {
  const { engine, log, runs } = services;
  const launch = { nodePath: engine.nodePath(), environment: engine.environment() };
  const title = l10n.t('Resuming {0} …', runTitle(run));
  await window.withProgress({ location: ProgressLocation.Window, title }, async () => {
    try {
      const resumed = await resumeRun(run.directory, launch);
      const from =
        resumed.how === 'restarted' && resumed.fromStep !== null ? ` from step ${String(resumed.fromStep)}` : '';
      log.info(`resumed ${run.name}${from}`);
    } finally {
      runs.refresh([run.directory]);
    }
  });
}

async function checkpoint(run: ListedRun, services: Services): Promise<void> {
  await ask(run, l10n.t('Saving {0} …', runTitle(run)), 'checkpoint', services);
  const saved = await latestComplete(run.directory);
  if (saved !== null) {
    window.setStatusBarMessage(l10n.t('$(check) Checkpoint of step {0} written', saved.step), 4_000);
  }
}

async function ask(
  { directory, name }: ListedRun,
  title: string,
  verb: 'pause' | 'checkpoint',
  { log, runs }: Services,
): Promise<void> {
  await window.withProgress({ location: ProgressLocation.Window, title }, async () => {
    const sequence = await sendControl(directory, verb);
    const answered = await waitForAcknowledgement(directory, sequence, ANSWER);
    runs.refresh([directory]);
    if (!answered) log.warn(`${name} was told to ${verb}; its trainer has not answered yet`);
  });
}

async function stop(runs: readonly ListedRun[], { runs: workspaceRuns, log }: Services): Promise<void> {
  const [first] = runs;
  if (first === undefined) return;
  const save = { title: l10n.t('Stop and Save') };
  const now = { title: l10n.t('Stop Now') };
  const goOn = { title: l10n.t('Continue'), isCloseAffordance: true };
  const message = runs.length === 1 ? l10n.t('Stop {0}?', runTitle(first)) : l10n.t('Stop {0} runs?', runs.length);
  const detail = l10n.t(
    'Stop and Save writes a checkpoint first, so that Resume goes on from here. Stop Now gives up the work since the last checkpoint{0}.',
    runs.length === 1 ? ` (${lastSaved(first)})` : '',
  );
  const answer = await window.showWarningMessage(message, { modal: true, detail }, save, now, goOn);
  if (answer === undefined || answer === goOn) return;
  await all(runs, async ({ directory, name }) => {
    log.info(`${answer.title}: ${name}`);
    if (answer === now) await stopNow(directory);
    else await sendControl(directory, 'stop');
    workspaceRuns.refresh([directory]);
  });
}

function lastSaved({ status }: ListedRun): string {
  return status.lastCheckpoint === null
    ? l10n.t('there is none yet')
    : l10n.t('step {0} of {1} done', status.lastCheckpoint, status.step);
}
