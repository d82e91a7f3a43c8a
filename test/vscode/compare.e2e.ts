// Compare Runs in a real VS Code: four finished runs from the explorer's selection, what differs, the clipboard, the picture.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Frame } from 'playwright-core';
import { finishedRuns } from './finished-runs';
import { pictured, Suite, until } from './suite';
import type { Window } from './window';

let suite: Suite;
let directories: readonly string[];
let window: Window | undefined;

const RUNS = [
  { bits: 2, rank: 8, trained: 58.1 },
  { bits: 2, rank: 32, trained: 55.4 },
  { bits: 3, rank: 32, trained: 51.2 },
  { bits: 4, rank: 32, trained: 52.9 },
];

before(async () => {
  suite = await Suite.start();
  const workspace = suite.sampleWorkspace(10);
  directories = await finishedRuns(workspace, RUNS);
  window = await suite.open({ folder: workspace });
  await window.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
});
after(() => suite.stop());

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 240_000 }, () =>
    pictured(
      () => window,
      name,
      async () => {
        assert.ok(window !== undefined);
        await body(window);
      },
    ),
  );
};

const panel = (w: Window): Promise<Frame> => w.webview('.grid-scroller [role=gridcell]');

step('Compare Runs on the selected runs shows them side by side, what differs first', async (w) => {
  await w.activity('LR-QAT');
  const rows = w.tree(/ppl/);
  await until(async () => (await rows.count()) === RUNS.length, 'all runs in the explorer', 60_000);
  const selected = w.page.locator('.sidebar .monaco-list-row.selected', { hasText: /ppl/ });
  await until(
    async () => {
      // A click opens the run's charts, which may take the selection back to it while they come.
      await rows.first().click();
      await w.page.locator('.tab.active').waitFor();
      await rows.last().click({ modifiers: ['Shift'] });
      await sleep(500);
      return (await selected.count()) === RUNS.length;
    },
    'all runs are selected',
    60_000,
  );
  await w.menuOf(rows.first(), /^Compare Runs$/);
  const frame = await panel(w);
  await until(
    async () => (await frame.locator('[role=columnheader].run-head').count()) === RUNS.length,
    'a column a run',
  );
  const bits = frame.locator('[role=gridcell][data-row="quantization.weights.bits"]');
  assert.deepEqual(await bits.allInnerTexts(), ['2', '2', '3', '4']);
});

step('with identical settings hidden, the copy as Markdown is what lrqat compare prints', async (w) => {
  const frame = await panel(w);
  const lines = async (): Promise<number> => Number(await frame.locator('.grid-scroller').getAttribute('data-rows'));
  const all = await lines();
  await frame.getByRole('checkbox', { name: 'Hide identical' }).click();
  await until(async () => (await lines()) < all - 10, 'identical settings are hidden', 60_000);
  await frame.getByRole('button', { name: 'Copy the tables as Markdown' }).click();
  await frame.getByText('Copied as Markdown').waitFor();
  const copied = await w.page.evaluate<string>('navigator.clipboard.readText()');
  const args = ['compare', ...directories, '--format', 'markdown'];
  const printed = spawnSync(process.execPath, ['dist/cli.js', ...args], { encoding: 'utf8' });
  assert.equal(printed.status, 0, printed.stderr);
  assert.match(printed.stdout, /\*\*51\.200/);
  assert.equal(copied, printed.stdout);
});
