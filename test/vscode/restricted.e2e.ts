// Restricted mode, with trust switched on: reading works, and whatever starts a program is refused in code.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createRun } from '../../src/runs';
import { parseExperiment } from '../../src/experiment';
import { readFileSync } from 'node:fs';
import { Form } from './form';
import { pictured, Suite } from './suite';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
let window: Window | undefined;

before(async () => {
  suite = await Suite.start({
    settings: { 'security.workspace.trust.enabled': true, 'security.workspace.trust.startupPrompt': 'never' },
  });
  workspace = suite.sampleWorkspace(10);
  const experimentFile = path.join(workspace, 'w2-rank32.lrqat.json');
  const { experiment } = parseExperiment(readFileSync(experimentFile, 'utf8'), experimentFile);
  assert.ok(experiment !== undefined);
  await createRun({ runsFolder: path.join(workspace, '.lrqat', 'runs'), experiment, experimentFile, queuedFor: 'cpu' });
  window = await suite.open({ folder: workspace });
});
after(() => suite.stop());

void test('runs are shown, problems are marked, and nothing is started', { timeout: 240_000 }, () =>
  pictured(
    () => window,
    'restricted',
    async () => {
      assert.ok(window !== undefined);
      const w = window;
      await w.activity('LR-QAT');
      await w.tree(/queued · number 1 of 1/).waitFor();
      await w.command('LR-QAT: Start Training');
      await w.toast(/Training is off in restricted mode/).waitFor();
      for (const [command, refused] of [
        ['LR-QAT: Check Setup', /Checking the machine is off/],
        ['LR-QAT: Resume', /Training is off/],
        ['LR-QAT: Start Now', /Training is off/],
      ] as const) {
        await w.command('Notifications: Clear All Notifications');
        await w.command(command);
        await w.toast(refused).waitFor();
      }
      await w.openFile('w2-rank32.lrqat.json');
      await w.page.locator('.codelens-decoration', { hasText: /Start Training.*fits/ }).waitFor();
      await w.command('LR-QAT: Open Form');
      const form = await Form.of(w);
      await form.grid.waitFor();
      assert.ok((await form.memory()) > 0, 'the form reads and plans');
      assert.ok(!existsSync(path.join(workspace, '.lrqat', 'runs', 'owner.json')));
    },
  ),
);
