// Restricted mode, with trust switched on: reading works, and whatever starts a program is refused in code.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createRun } from '../../src/runs';
import { parseExperiment } from '../../src/experiment';
import { Charts } from './charts';
import { Form } from './form';
import { recordedRun } from './recorded-runs';
import { pictured, Suite, until } from './suite';
import { isDone, press, show } from './walkthrough-page';
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
  await recordedRun(workspace, 'w2-rank32');
  window = await suite.open({ folder: workspace });
});
after(() => suite.stop());

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 240_000 }, () =>
    pictured(
      () => window,
      `restricted ${name}`,
      async () => {
        assert.ok(window !== undefined);
        await body(window);
      },
    ),
  );
};

step('runs and their curves are shown, and whatever starts a program is refused', async (w) => {
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
  await w.tree(/stopped/).click();
  const charts = await Charts.of(w, 'stopped');
  await until(async () => (await charts.inkOf('loss')) > 200, 'a curve in pixels');
  await until(() => charts.isDisabled('resume'), 'Resume cannot be pressed');
});

step('an experiment is checked and planned, as text and as a form', async (w) => {
  await w.openFile('w2-rank32.lrqat.json');
  await w.page.locator('.codelens-decoration', { hasText: /Start Training.*fits/ }).waitFor();
  await w.command('LR-QAT: Open Form');
  const form = await Form.of(w);
  await form.grid.waitFor();
  await until(async () => (await form.memory()) > 0, 'the form reads and plans');
});

step('the walkthrough leads to what can be read, and ticks off nothing that was refused', async (w) => {
  await show(w);
  // The sample is open, its form and charts have been on the screen.
  await isDone(w, 'sample,form,charts');
  await w.command('Notifications: Clear All Notifications');
  await press(w, 'start', 'Start Training');
  await w.toast(/Training is off in restricted mode/).waitFor();
  await isDone(w, 'sample,form,charts');
  await press(w, 'form', 'Open Form');
  await w.webview('#panel:has(.needs)');
});

step('no trainer has been started', () => {
  const runsFolder = path.join(workspace, '.lrqat', 'runs');
  const files = readdirSync(runsFolder, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    files.filter((file) => file.endsWith('owner.json')),
    [],
  );
  assert.equal(files.filter((file) => file.endsWith('status.json')).length, 2, 'and no run has been made');
  return Promise.resolve();
});
