// The extension: makes what features share and lets each feature register itself.
import { l10n, window, workspace, type ExtensionContext } from 'vscode';
import { registerCharts } from './editor/charts/register-charts';
import { registerCompare } from './editor/compare/register-compare';
import { registerControl } from './editor/commands/control';
import { registerDelete } from './editor/commands/delete';
import { registerEvaluate } from './editor/commands/evaluate';
import { registerSensitivity } from './editor/commands/sensitivity';
import { registerExport } from './editor/commands/export';
import { registerNotes } from './editor/commands/notes';
import { registerExplorerOptions, registerOpen } from './editor/commands/open';
import { registerSetup } from './editor/commands/setup';
import { registerDuplicate } from './editor/experiments/duplicate-run';
import { registerNewExperiment } from './editor/experiments/new-experiment';
import { ExplorerView } from './editor/explorer/explorer-view';
import { registerForm } from './editor/form/register-form';
import { useTranslations } from './editor/l10n';
import { EndNotifier } from './editor/notifications';
import { registerQueue } from './editor/queue/queue-commands';
import { QueueKeeper } from './editor/queue/queue-keeper';
import { QueueView } from './editor/queue/queue-view';
import { registerWith } from './editor/register';
import type { Services } from './editor/services';
import { EngineFacts } from './editor/start/engine-facts';
import { registerStartTraining } from './editor/start/start-training';
import { StatusBar } from './editor/status-bar';
import { registerTasks } from './editor/tasks';
import { RateStore } from './editor/validation/measured-rates';
import { registerValidation } from './editor/validation/register-validation';
import { WorldClient } from './editor/validation/world-client';
import { Walkthrough } from './editor/walkthrough';
import { WorkspaceRuns } from './editor/workspace-runs';

export function activate(context: ExtensionContext): void {
  const begin = performance.now();
  useTranslations((message, ...args) => l10n.t(message, ...args));
  const log = window.createOutputChannel('LR-QAT', { log: true });
  const runs = new WorkspaceRuns(context, log);
  const world = new WorldClient();
  const engine = new EngineFacts();
  const queue = new QueueKeeper(runs, engine, log);
  const walkthrough = new Walkthrough(context, runs);
  const services: Services = {
    ...{ context, log, register: registerWith(log), runs, queue, engine, world, walkthrough },
    rates: new RateStore(context.globalState, runs),
  };
  context.subscriptions.push(
    log,
    runs,
    world,
    queue,
    walkthrough,
    new QueueView(runs, queue),
    new StatusBar(runs),
    new EndNotifier(runs),
  );

  const explorer = new ExplorerView(services);
  context.subscriptions.push(
    explorer,
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('lrqat.nativeFolder') || event.affectsConfiguration('lrqat.nodePath'))
        engine.forget();
    }),
  );
  registerStartTraining(services, explorer);
  registerControl(services);
  registerQueue(services);
  registerNotes(services);
  registerDelete(services);
  registerOpen(services);
  registerExplorerOptions(services, explorer);
  registerSetup(services);
  registerCharts(services);
  registerCompare(services);
  registerForm(services, registerValidation(services));
  registerNewExperiment(services);
  registerDuplicate(services);
  registerEvaluate(services);
  registerSensitivity(services);
  registerExport(services);
  registerTasks(services);
  log.info(`activated in ${(performance.now() - begin).toFixed(1)} ms`);
}

export function deactivate(): void {
  // Runs go on: they are processes of their own. Everything else is disposed of with the context.
}
