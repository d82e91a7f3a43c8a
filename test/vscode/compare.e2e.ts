// Compare Runs in a real VS Code: four finished runs, what differs, the clipboard, the picture.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
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

step('Compare Runs from the palette shows them side by side, what differs first', async (w) => {
  await w.activity('LR-QAT');
  const rows = w.tree(/ppl/);
  await until(async () => (await rows.count()) === RUNS.length, 'all runs in the explorer', 60_000);
  await w.command('LR-QAT: Compare Runs');
  await w.pickAll(RUNS.length);
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

step('the picture has a point a run, float and round-to-nearest, and a front', async (w) => {
  const frame = await panel(w);
  const card = frame.locator('.card');
  await card.locator('path.front').waitFor();
  assert.equal(await card.locator('circle.point').count(), RUNS.length);
  assert.equal(await card.locator('rect.float').count(), 1);
  assert.equal(await card.locator('polygon.round-to-nearest').count(), 3, 'one a width of the grid');
  // Rank 32 at 2 bits, 3 bits, float.
  assert.equal(await card.getAttribute('data-on-front'), '3');
});

step('a run that changes shows in the open panel, and the panel survives a reload', async (w) => {
  const [first] = directories;
  assert.ok(first !== undefined);
  const file = path.join(first, 'result.json');
  const result = JSON.parse(readFileSync(file, 'utf8')) as { perplexity: Record<string, number> };
  writeFileSync(file, JSON.stringify({ ...result, perplexity: { ...result.perplexity, trained: 44.4, merged: 44.4 } }));
  // Else it would be seen at the next look at everything, within half a minute.
  await w.command('LR-QAT: Refresh');
  const better = async (): Promise<boolean> =>
    (await (await panel(w)).locator('[data-row="perplexity.trained"][role=gridcell]').first().innerText()).startsWith(
      '44.400',
    );
  await until(better, 'the new result', 90_000);
  // In a browser VS Code writes which editors are open every few seconds only, and nothing while the page goes.
  await sleep(6_000);
  await w.reload();
  await until(better, 'the panel is back', 90_000);
  assert.equal(await (await panel(w)).getByRole('checkbox', { name: 'Hide identical' }).isChecked(), true);
});
