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
      const ended = new Promise<number | undefined>((resolve) => {
        const subscription = vscode.tasks.onDidEndTaskProcess((event) => {
          if (event.execution.task.name !== task.name) return;
          subscription.dispose();
          resolve(event.exitCode);
        });
      });
      await vscode.tasks.executeTask(task);
      assert.equal(await ended, 0);
      const runs = await vscode.workspace.fs.readDirectory(vscode.Uri.joinPath(workspaceFolder(), '.lrqat', 'runs'));
      assert.equal(runs.length, 1);
    });
  });
}
