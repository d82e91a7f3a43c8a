// Start Training: save, check everything, ask where asking is due, start, show.
import path from 'node:path';
import {
  commands,
  ProgressLocation,
  Range,
  TabInputCustom,
  TabInputText,
  Uri,
  window,
  workspace,
  type TextDocument,
} from 'vscode';
import { messageOf, UserError } from '../../errors';
import { nameOf } from '../../experiment/parse';
import type { Experiment, Fix, Problem } from '../../experiment';
import { runsFolderFor } from '../../runs';
import { EXPERIMENT_SUFFIX, type ExperimentTarget } from '../contributions';
import type { ExplorerView } from '../explorer/explorer-view';
import { percent, shareDone } from '../explorer/run-text';
import { l10n } from '../l10n';
import { ActionableError, executeCommand } from '../register';
import type { Services } from '../services';
import { runsFolderSetting, setting } from '../settings';
import { requireTrust } from '../trust';
import { editOf } from '../validation/quick-fixes';
import type { SweepAnswer } from '../validation/world-protocol';
import { questionAbout } from '../validation/world-question';
import { queueAll, queueSweep } from './queue-sweep';
import { startRun } from './start-run';

export function registerStartTraining(services: Services, explorer: ExplorerView): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.startTraining', async (target) => {
      requireTrust(l10n.t('Training'));
      const file = await experimentFileOf(target, services);
      if (file === undefined) return;
      const directory = await start(file, services, explorer);
      if (directory === null) return;
      services.runs.refresh([directory]);
      await services.runs.reconcile();
      await explorer.reveal(directory);
      if (setting('lrqat.openChartsOnStart')) await executeCommand('lrqat.openCharts', directory);
    }),
  );
}

/** The file a command is about: what it was given, the active editor's, or one that the user picks. */
export async function experimentFileOf(target: ExperimentTarget, services: Services): Promise<string | undefined> {
  if (target instanceof Uri) return target.fsPath;
  if (target?.node.type === 'experiment' && target.node.file !== null) return target.node.file;
  const active = activeExperiment();
  if (active !== undefined) return active;
  await services.runs.loaded;
  const files = services.runs.experimentFiles;
  if (files.length === 0) {
    throw new ActionableError('NoExperiment', l10n.t('There is no experiment file (*.lrqat.json) in this workspace'), {
      title: l10n.t('New Experiment'),
      run: () => executeCommand('lrqat.newExperiment'),
    });
  }
  if (files.length === 1) return files[0];
  const items = files.map((file) => ({
    label: nameOf(file),
    description: workspace.asRelativePath(path.dirname(file)),
    file,
  }));
  return (await window.showQuickPick(items, { title: l10n.t('Experiment'), matchOnDescription: true }))?.file;
}

function activeExperiment(): string | undefined {
  const document = window.activeTextEditor?.document;
  if (document?.uri.scheme === 'file' && document.fileName.endsWith(EXPERIMENT_SUFFIX)) return document.fileName;
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  const uri = input instanceof TabInputText || input instanceof TabInputCustom ? input.uri : undefined;
  return uri?.scheme === 'file' && uri.path.endsWith(EXPERIMENT_SUFFIX) ? uri.fsPath : undefined;
}

/** @returns the run directory, or null when the user has thought better of it. */
async function start(file: string, services: Services, explorer: ExplorerView): Promise<string | null> {
  const { experiment, sweep, runsFolder } = await checkedExperiment(file, services);
  const title = nameOf(file);
  if (sweep !== null) {
    const first = await queueSweep(file, runsFolder, sweep, services);
    if (first !== null) await explorer.reveal(first);
    return null;
  }
  const wish = await confirmSecondStart(file, title, services);
  if (wish === 'queue') await queueAll(file, runsFolder, [{ experiment, values: null }], services);
  if (wish !== 'start') return null;
  const { engine, log } = services;
  const launch = { nodePath: engine.nodePath(), environment: engine.environment() };
  return window.withProgress(
    { location: ProgressLocation.Window, title: l10n.t('Starting {0} …', title) },
    async () => {
      try {
        const directory = await startRun({ experiment, experimentFile: file, runsFolder }, launch);
        log.info(`started ${directory}`);
        return directory;
      } catch (error) {
        await services.runs.reconcile();
        throw startFailure(error);
      }
    },
  );
}

interface Checked {
  readonly experiment: Experiment;
  readonly sweep: SweepAnswer | null;
  readonly runsFolder: string;
}

async function checkedExperiment(file: string, services: Services): Promise<Checked> {
  // Texts as well: the trainer reads what is on the disk.
  await workspace.saveAll(false);
  const uri = Uri.file(file);
  const runsFolder = runsFolderFor(file, runsFolderSetting(uri));
  const title = l10n.t('Checking {0} …', nameOf(file));
  const checked = await window.withProgress({ location: ProgressLocation.Window, title }, () => check(uri, services));
  return { ...checked, runsFolder };
}

/** Puts an experiment, or all runs of its sweep after a question, at the end of the queue. */
export async function queueExperiment(file: string, services: Services): Promise<void> {
  const { experiment, sweep, runsFolder } = await checkedExperiment(file, services);
  if (sweep !== null) await queueSweep(file, runsFolder, sweep, services);
  else await queueAll(file, runsFolder, [{ experiment, values: null }], services);
}

/** @throws ActionableError for the first problem, with its fix as the action where there is one. */
async function check(uri: Uri, services: Services): Promise<Pick<Checked, 'experiment' | 'sweep'>> {
  const document = await workspace.openTextDocument(uri);
  const question = await questionAbout(document, services);
  // A check while typing may replace the question; then it is asked again.
  for (let attempt = 1; ; attempt++) {
    const answer = await services.world.ask(question);
    if (answer === null && attempt < 5) continue;
    if (answer?.experiment) return { experiment: answer.experiment, sweep: answer.sweep };
    throw invalid(document, answer?.problems ?? []);
  }
}

function invalid(document: TextDocument, problems: readonly Problem[]): Error {
  const errors = problems.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  const name = path.basename(document.fileName);
  if (first === undefined) return new UserError('NotChecked', l10n.t('{0} could not be checked; try again', name));
  const more = errors.length > 1 ? ` ${l10n.t('({0} errors in all)', errors.length)}` : '';
  const message = l10n.t('{0} cannot be trained: {1}{2}', name, first.message, more);
  const fix = errors.length === 1 ? first.fixes?.[0] : undefined;
  const options = first.hint === undefined ? {} : { hint: first.hint };
  const action =
    fix === undefined
      ? { title: l10n.t('Show Problem'), run: () => showProblem(document, first) }
      : { title: fix.title, run: () => applyFix(document, fix) };
  return new ActionableError('InvalidExperiment', message, action, options);
}

async function showProblem(document: TextDocument, { line, column, endLine, endColumn }: Problem): Promise<void> {
  const selection = new Range(line - 1, column - 1, endLine - 1, endColumn - 1);
  await window.showTextDocument(document, { selection });
}

async function applyFix(document: TextDocument, fix: Fix): Promise<void> {
  await workspace.applyEdit(editOf(document, fix));
  await window.showTextDocument(document);
}

async function confirmSecondStart(file: string, title: string, { runs }: Services): Promise<'start' | 'queue' | null> {
  await runs.reconcile();
  const live = runs.live.find(
    (entry) => entry.kind === 'run' && entry.state !== 'queued' && entry.origin.experimentFile === file,
  );
  if (live?.kind !== 'run') return 'start';
  const another = l10n.t('Start Another Run');
  const queue = l10n.t('Add to Queue');
  const show = l10n.t('Show the Running One');
  const detail = l10n.t('Two runs at a time share the processor and the memory.');
  const message = l10n.t('{0} is in training already ({1} done).', title, percent(shareDone(live)));
  const answer = await window.showWarningMessage(message, { modal: true, detail }, another, queue, show);
  if (answer === show) await executeCommand('lrqat.openCharts', live.directory);
  return answer === another ? 'start' : answer === queue ? 'queue' : null;
}

/** Why a trainer did not start, with the one thing to do about it. */
function startFailure(error: unknown): unknown {
  if (!(error instanceof UserError)) return error;
  if (error.code === 'NativeMissing' || error.code === 'NativeUnloadable' || error.code === 'NativeMismatch') {
    const action = { title: l10n.t('Check Setup'), run: () => executeCommand('lrqat.checkSetup') };
    return new ActionableError(error.code, messageOf(error), action, { cause: error, ...hintOf(error) });
  }
  if (error.code === 'RunsFolder') {
    const run = (): Thenable<unknown> => commands.executeCommand('workbench.action.openSettings', 'lrqat.runsFolder');
    return new ActionableError(
      error.code,
      messageOf(error),
      { title: l10n.t('Choose a Folder'), run },
      { cause: error },
    );
  }
  return error;
}

function hintOf({ hint }: UserError): { readonly hint?: string } {
  return hint === undefined ? {} : { hint };
}
