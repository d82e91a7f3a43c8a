// The command line inside VS Code: tasks of type `lrqat`, evaluations in a terminal, and `lrqat` on the PATH of terminals.
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  ProcessExecution,
  Task,
  TaskGroup,
  TaskPanelKind,
  TaskRevealKind,
  TaskScope,
  tasks,
  workspace,
  type TaskDefinition,
  type TaskExecution,
  type WorkspaceFolder,
} from 'vscode';
import { nameOf } from '../experiment/parse';
import { PROBLEM_MATCHER, TASK_TYPE } from './contributions';
import { l10n } from './l10n';
import type { Services } from './services';

interface TrainTask extends TaskDefinition {
  readonly experiment: string;
  readonly set?: readonly string[];
}

export function registerTasks(services: Services): void {
  const { context, log } = services;
  context.subscriptions.push(
    tasks.registerTaskProvider(TASK_TYPE, {
      async provideTasks() {
        if (!workspace.isTrusted) return [];
        await services.runs.loaded;
        return services.runs.experimentFiles.map((file) => {
          const folder = folderOf(file);
          const experiment = folder === undefined ? file : path.relative(folder.uri.fsPath, file);
          return trainTask({ type: TASK_TYPE, experiment }, folder, services);
        });
      },
      resolveTask(task) {
        const { experiment, set } = task.definition as Partial<TrainTask>;
        if (typeof experiment !== 'string' || !workspace.isTrusted) return undefined;
        const scope = typeof task.scope === 'object' ? task.scope : workspace.workspaceFolders?.[0];
        const sets = Array.isArray(set) ? set.filter((each) => typeof each === 'string') : [];
        // VS Code wants the definition it has asked about back.
        return trainTask(
          { ...task.definition, type: TASK_TYPE, experiment, set: sets },
          scope,
          services,
          task.definition,
        );
      },
    }),
  );
  const offerCommand = (): void => {
    if (workspace.isTrusted) void putOnPath(services).catch((error: unknown) => log.warn(String(error)));
  };
  context.subscriptions.push(workspace.onDidGrantWorkspaceTrust(offerCommand));
  offerCommand();
}

function folderOf(file: string): WorkspaceFolder | undefined {
  return workspace.workspaceFolders?.find(({ uri }) => file.startsWith(`${uri.fsPath}${path.sep}`));
}

function trainTask(
  { experiment, set = [], type }: TrainTask,
  folder: WorkspaceFolder | undefined,
  services: Services,
  definition: TaskDefinition = { type, experiment },
): Task {
  const args = ['train', experiment, ...set.flatMap((each) => ['--set', each])];
  const task = new Task(
    definition,
    folder ?? TaskScope.Workspace,
    l10n.t('train {0}', nameOf(experiment)),
    TASK_TYPE,
    cliExecution(args, services, folder?.uri.fsPath),
    `$${PROBLEM_MATCHER}`,
  );
  task.group = TaskGroup.Build;
  task.detail = experiment;
  return task;
}

/** How `lrqat` is run: program, arguments, what its environment gets beside this process's own. */
export function cliCommand(
  args: readonly string[],
  { context, engine }: Services,
): { readonly program: string; readonly args: string[]; readonly env: Record<string, string> } {
  const env = Object.fromEntries(
    Object.entries({ ...cliEnvironment(engine.environment()) }).flatMap(([key, value]): [string, string][] =>
      value === undefined ? [] : [[key, value]],
    ),
  );
  const cli = path.join(context.extensionPath, 'dist', 'cli.js');
  return { program: engine.nodePath(), args: [cli, ...args], env };
}

/** Runs `lrqat` with arguments, never through a shell. */
function cliExecution(args: readonly string[], services: Services, cwd: string | undefined): ProcessExecution {
  const { program, args: all, env } = cliCommand(args, services);
  return new ProcessExecution(program, all, { env, ...(cwd === undefined ? {} : { cwd }) });
}

function cliEnvironment({ LRQAT_NATIVE }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // In desktop VS Code the program is Electron, which is Node only when told so.
  return { ELECTRON_RUN_AS_NODE: '1', ...(LRQAT_NATIVE === undefined ? {} : { LRQAT_NATIVE }) };
}

/** Shows a command of `lrqat` in a terminal of its own. */
export async function runInTerminal(
  name: string,
  args: readonly string[],
  cwd: string,
  services: Services,
): Promise<TaskExecution> {
  const folder = folderOf(path.join(cwd, '.'));
  const execution = cliExecution(args, services, cwd);
  const task = new Task(
    { type: TASK_TYPE, experiment: name },
    folder ?? TaskScope.Workspace,
    name,
    'LR-QAT',
    execution,
  );
  task.presentationOptions = { reveal: TaskRevealKind.Always, panel: TaskPanelKind.Dedicated, clear: true };
  return tasks.executeTask(task);
}

/** A small script outside of the install folder, which loses its executable bits in some archives and moves with every update. */
async function putOnPath({ context, engine }: Services): Promise<void> {
  const folder = path.join(context.globalStorageUri.fsPath, 'bin');
  await mkdir(folder, { recursive: true });
  const node = engine.nodePath();
  const cli = path.join(context.extensionPath, 'dist', 'cli.js');
  const isWindows = process.platform === 'win32';
  const script = isWindows
    ? `@echo off\r\nset ELECTRON_RUN_AS_NODE=1\r\n"${node}" "${cli}" %*\r\n`
    : `#!/bin/sh\nELECTRON_RUN_AS_NODE=1 exec '${quoted(node)}' '${quoted(cli)}' "$@"\n`;
  const file = path.join(folder, isWindows ? 'lrqat.cmd' : 'lrqat');
  await writeFile(file, script);
  if (!isWindows) await chmod(file, 0o755);
  const variables = context.environmentVariableCollection;
  variables.description = l10n.t('Puts the command lrqat on the path.');
  variables.prepend('PATH', `${folder}${path.delimiter}`);
}

const quoted = (text: string): string => text.replaceAll("'", `'\\''`);
