// "Your first 2-bit model" from an empty folder to a comparison (the export: export.e2e.ts): each step is ticked off by what happened, not by a press of its button.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { finishedRuns } from './finished-runs';
import { pictured, quick, stopRuns, Suite, until } from './suite';
import { done, isDone, press, show, shown } from './walkthrough-page';
import type { Window } from './window';

let suite: Suite;
let parent: string;
let sample: string;
let window: Window | undefined;

before(async () => {
  // While motion is not reduced VS Code takes the focus to a step a quarter of a second after it has unfolded, and a list that a press
  // of its button has opened by then closes.
  suite = await Suite.start({ settings: { 'workbench.reduceMotion': 'on' } });
  parent = suite.folder();
  sample = path.join(parent, 'lrqat-sample');
  // Something for the window to list.
  writeFileSync(path.join(parent, 'notes.txt'), 'nothing yet\n');
  window = await suite.open({ folder: parent });
});
after(async () => {
  await stopRuns(sample);
  await suite.stop();
});

/** One way through: what comes after a step that has failed would only wait for it. */
let failed = false;

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 240_000 }, (context) =>
    failed
      ? context.skip('the step before has failed')
      : pictured(
          () => window,
          name,
          async () => {
            failed = true;
            assert.ok(window !== undefined);
            await body(window);
            failed = false;
          },
        ),
  );
};

step('it is offered where nothing is there yet, and a press that comes to nothing completes no step', async (w) => {
  await w.activity('LR-QAT');
  await w.page.locator('.sidebar a', { hasText: 'your first 2-bit model' }).click();
  await shown(w);
  assert.equal(await done(w), '');
  await press(w, 'sample', 'Open Sample');
  await w.quickPick().locator('input[type=text]').waitFor();
  await w.page.keyboard.press('Escape');
  await w.quickPick().waitFor({ state: 'hidden' });
  assert.equal(await done(w), '');
  assert.ok(!existsSync(sample));
});

step('Open Sample copies it out of the install folder and opens it, and the walkthrough goes on there', async (w) => {
  // Opened below the workspace it would be shown in this window; elsewhere it gets one of its own.
  parent = suite.folder();
  sample = path.join(parent, 'lrqat-sample');
  await press(w, 'sample', 'Open Sample');
  await w.choosePath(parent);
  const row = w.page.locator('.explorer-viewlet .monaco-list-row', { hasText: 'w2-rank32.lrqat.json' });
  await row.waitFor();
  assert.ok(!existsSync(path.join(sample, '.lrqat')));
  await shown(w);
  await isDone(w, 'sample');
});

step('the form', async (w) => {
  await press(w, 'form', 'Open Form');
  await w.webview('#panel:has(.needs)');
  await show(w);
  await isDone(w, 'sample,form');
});

step('training, and its charts', async (w) => {
  const file = path.join(sample, 'w2-rank32.lrqat.json');
  writeFileSync(file, quick(readFileSync(file, 'utf8'), 20));
  // Runs stay in the folder, whatever lies above it.
  mkdirSync(path.join(sample, '.lrqat'));
  await press(w, 'start', 'Start Training');
  await w.webview('[data-chart="loss"]', 120_000);
  await w.toast(/w2-rank32 has finished/).waitFor({ timeout: 120_000 });
  await show(w);
  await isDone(w, 'sample,form,start,charts');
});

step('comparison: of one run it is none', async (w) => {
  await press(w, 'compare', 'Compare Runs');
  await w.webview('.grid-scroller [role=gridcell]');
  await show(w);
  assert.equal(await done(w), 'sample,form,start,charts');
  await finishedRuns(sample, [{ bits: 3, rank: 32, trained: 51.2 }]);
  await w.command('LR-QAT: Refresh');
  await w.activity('LR-QAT');
  await until(async () => (await w.tree(/ppl/).count()) === 2, 'a second run');
  await press(w, 'compare', 'Compare Runs');
  await w.pickAll(2);
  await w.page.locator('.tab.active', { hasText: 'Compare 2 Runs' }).waitFor();
  await show(w);
  await isDone(w, 'sample,form,start,charts,compare');
});
