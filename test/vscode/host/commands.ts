import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { COMMANDS, SETTING_DEFAULTS, TASK_TYPE } from '../../../src/editor/contributions';
import { eventually, EXTENSION, workspaceFolder } from './support';

export function commandTests(): void {
  describe('extension', () => {
    it('is active in a workspace with experiments, and every declared command is there', async () => {
      const extension = vscode.extensions.getExtension(EXTENSION);
      assert.ok(extension !== undefined);
      await eventually(() => (extension.isActive ? true : undefined));
      const known = new Set(await vscode.commands.getCommands(true));
      assert.deepEqual(
        Object.keys(COMMANDS).filter((id) => !known.has(id)),
        [],
      );
    });

    it('has the declared defaults of its settings', () => {
      const configuration = vscode.workspace.getConfiguration();
      for (const [key, value] of Object.entries(SETTING_DEFAULTS)) {
        assert.deepEqual(configuration.inspect(key)?.defaultValue, value, key);
      }
    });

    it('keeps runs out of VS Code’s own watcher and search', () => {
      const configuration = vscode.workspace.getConfiguration();
      for (const key of ['files.watcherExclude', 'search.exclude']) {
        const excluded = configuration.get<Record<string, boolean>>(key) ?? {};
        assert.equal(excluded['**/.lrqat/runs/**'], true, key);
      }
    });

    it('offers every experiment as a task', async () => {
      const tasks = await eventually(async () => {
        const found = await vscode.tasks.fetchTasks({ type: TASK_TYPE });
        return found.length > 0 ? found : undefined;
      });
      assert.deepEqual(
        tasks.map(({ definition }) => definition['experiment'] as unknown),
        ['w2-rank32.lrqat.json'],
      );
      assert.ok(tasks[0]?.execution instanceof vscode.ProcessExecution, 'never through a shell');
    });

    it('trains as a task, with the settings that the task replaces', async () => {
      const [task] = await vscode.tasks.fetchTasks({ type: TASK_TYPE });
      assert.ok(task?.execution instanceof vscode.ProcessExecution);
      const set = ['training.steps=1', 'evaluation.maxBatches=1', 'data.sequenceLength=32'];
      task.execution.args.push(...set.flatMap((each) => ['--set', each]));
      assert.equal(await exitCodeOf(task), 0);
      assert.equal((await runs()).length, 1);
    });

    it('shows what a task finds wrong among the problems', async () => {
      const uri = vscode.Uri.joinPath(workspaceFolder(), 'wrong.lrqat.json');
      const text = '{\n  "model": { "path": "model" },\n  "data": { "train": ["train.txt"] },\n  "trainning": {}\n}\n';
      await vscode.workspace.fs.writeFile(uri, new TextEncoder().encode(text));
      const task = await eventually(async () => {
        const tasks = await vscode.tasks.fetchTasks({ type: TASK_TYPE });
        return tasks.find(({ definition }) => definition['experiment'] === 'wrong.lrqat.json');
      });
      assert.deepEqual(task.problemMatchers, ['$lrqat']);
      assert.notEqual(await exitCodeOf(task), 0);
      const problem = await eventually(() =>
        vscode.languages.getDiagnostics(uri).find(({ message }) => message.includes('trainning is not a key')),
      );
      assert.equal(problem.range.start.line, 3);
      assert.equal(problem.source, 'lrqat');
      assert.equal(problem.severity, vscode.DiagnosticSeverity.Error);
      await vscode.workspace.fs.delete(uri);
    });

    it('puts lrqat on the path of terminals', async () => {
      const file = vscode.Uri.joinPath(workspaceFolder(), 'version.txt');
      const terminal = vscode.window.createTerminal('path');
      try {
        terminal.sendText(`lrqat --version > '${file.fsPath}'`);
        const text = await eventually(async () => {
          const bytes = await vscode.workspace.fs.readFile(file).then(undefined, () => undefined);
          const read = new TextDecoder().decode(bytes);
          return read === '' ? undefined : read;
        });
        assert.match(text, /^\d+\.\d+\.\d+\s*$/);
      } finally {
        terminal.dispose();
      }
    });

    it('measures the sensitivity of an experiment, in a terminal', async () => {
      const started = new Promise<vscode.TaskExecution>((resolve) => {
        const subscription = vscode.tasks.onDidStartTask(({ execution }) => {
          subscription.dispose();
          resolve(execution);
        });
      });
      const file = vscode.Uri.joinPath(workspaceFolder(), 'w2-rank32.lrqat.json');
      const command = vscode.commands.executeCommand('lrqat.sensitivity', file);
      // Nothing is typed: only the map. Enter is tried until the box is there.
      const accept = setInterval(() => {
        void vscode.commands.executeCommand('workbench.action.acceptSelectedQuickOpenItem');
      }, 300);
      try {
        // A command that fails does not leave us waiting for its task.
        const execution = await Promise.race([started, Promise.resolve(command).then(() => started)]);
        clearInterval(accept);
        assert.ok(execution.task.execution instanceof vscode.ProcessExecution);
        const [, verb, measured, option, report = ''] = execution.task.execution.args;
        assert.deepEqual([verb, measured, option], ['sensitivity', file.fsPath, '--report']);
        assert.match(report, /w2-rank32\.html$/);
        // The measurement itself is tested elsewhere.
        execution.terminate();
        await command;
      } finally {
        clearInterval(accept);
      }
    });

    it('evaluates a run on its validation texts, in a terminal', async () => {
      const [run = ''] = await runs();
      const directory = vscode.Uri.joinPath(workspaceFolder(), '.lrqat', 'runs', run).fsPath;
      const started = new Promise<vscode.TaskExecution>((resolve) => {
        const subscription = vscode.tasks.onDidStartTask(({ execution }) => {
          subscription.dispose();
          resolve(execution);
        });
      });
      const ended = endOf(({ source }) => source === 'LR-QAT');
      const command = vscode.commands.executeCommand('lrqat.evaluate', directory);
      // The first choice is the validation texts; Enter is tried until the list is there.
      const accept = setInterval(() => {
        void vscode.commands.executeCommand('workbench.action.acceptSelectedQuickOpenItem');
      }, 300);
      try {
        const { task } = await started;
        clearInterval(accept);
        assert.ok(task.execution instanceof vscode.ProcessExecution);
        const [, verb, what, option, text = ''] = task.execution.args;
        assert.deepEqual([verb, what, option], ['evaluate', directory, '--data']);
        assert.match(text, /validation\.txt$/);
        await command;
        assert.equal(await ended, 0);
      } finally {
        clearInterval(accept);
      }
    });
  });
}

async function runs(): Promise<string[]> {
  const folder = vscode.Uri.joinPath(workspaceFolder(), '.lrqat', 'runs');
  return (await vscode.workspace.fs.readDirectory(folder)).map(([name]) => name);
}

async function exitCodeOf(task: vscode.Task): Promise<number | undefined> {
  const ended = endOf(({ name }) => name === task.name);
  await vscode.tasks.executeTask(task);
  return ended;
}

/** Exit code of the first task that ends and is meant. */
function endOf(isMeant: (task: vscode.Task) => boolean): Promise<number | undefined> {
  return new Promise((resolve) => {
    const subscription = vscode.tasks.onDidEndTaskProcess(({ execution, exitCode }) => {
      if (!isMeant(execution.task)) return;
      subscription.dispose();
      resolve(exitCode);
    });
  });
}
