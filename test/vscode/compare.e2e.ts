// Compare Runs in a real VS Code: four finished runs, what differs, the clipboard, the picture.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { Frame } from 'playwright-core';
import { finishedRuns } from './finished-runs';
import { Form } from './form';
import { becomes, pictured, Suite, until } from './suite';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
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
  workspace = suite.sampleWorkspace(10);
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
  await becomes(() => bits.allInnerTexts(), ['2', '2', '3', '4']);
});

step('with identical settings hidden, the copy as Markdown is what lrqat compare prints', async (w) => {
  const frame = await panel(w);
  const lines = async (): Promise<number> => Number(await frame.locator('.grid-scroller').getAttribute('data-rows'));
  const all = await lines();
  await frame.getByRole('checkbox', { name: 'Hide identical' }).click();
  await until(async () => (await lines()) < all - 10, 'identical settings are hidden', 60_000);
  await frame.getByRole('button', { name: 'Copy the tables as Markdown' }).click();
  await frame.getByText('Copied as Markdown').waitFor();
  const args = ['compare', ...directories, '--format', 'markdown'];
  const printed = spawnSync(process.execPath, ['dist/cli.js', ...args], { encoding: 'utf8' });
  assert.equal(printed.status, 0, printed.stderr);
  assert.match(printed.stdout, /\*\*51\.200/);
  await becomes(() => w.page.evaluate<string>('navigator.clipboard.readText()'), printed.stdout);
});

step('the picture has a point a run, float and round-to-nearest, and a front', async (w) => {
  const frame = await panel(w);
  const card = frame.locator('.card');
  await card.locator('path.front').waitFor();
  await becomes(() => card.locator('circle.point').count(), RUNS.length);
  await becomes(() => card.locator('rect.float').count(), 1);
  // One a width of the grid.
  await becomes(() => card.locator('polygon.round-to-nearest').count(), 3);
  // Rank 32 at 2 bits, 3 bits, float.
  await becomes(() => card.getAttribute('data-on-front'), '3');
});

step('the report is saved where the user says', async (w) => {
  const frame = await panel(w);
  const report = path.join(suite.folder(), 'report.html');
  await frame.getByRole('button', { name: /^Save Report/ }).click();
  await w.choosePath(report);
  await until(() => existsSync(report) && readFileSync(report, 'utf8').endsWith('</html>\n'), 'the report');
  const html = readFileSync(report, 'utf8');
  assert.match(html, /51\.200/);
  assert.doesNotMatch(html, /<script|https?:\/\/(?!www\.w3\.org)/, 'it needs nothing else');
  await frame.getByText(`Saved ${report}`).waitFor();
});

step('Compare Runs in the menu of the explorer takes the runs that are selected', async (w) => {
  const rows = w.tree(/ppl/);
  await w.select(rows.nth(0), rows.nth(2));
  const tab = w.page.locator('.tab.active', { hasText: 'Compare 2 Runs' });
  await w.menuOf(rows.nth(2), /^Compare Runs$/, tab);
  await w.command('View: Close Editor');
  await tab.waitFor({ state: 'detached' });
  // A click on a run shows its charts.
  await w.page.locator('.tab', { hasText: 'Compare 4 Runs' }).click();
  await panel(w);
});

step('a run that changes shows in the open panel, and it and an open form survive a reload', async (w) => {
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
  await w.openFile('w2-rank32.lrqat.json');
  await w.command('LR-QAT: Open Form');
  const form = await Form.of(w);
  // What the machine's own speed and memory are comes last.
  await form.grid.waitFor();
  const memory = await form.memory();
  await w.stored('lrqat.form');
  await w.reload();
  await until(async () => (await (await Form.of(w)).memory()) === memory, 'the form is back', 90_000);
  await w.page.locator('.tab', { hasText: 'Compare 4 Runs' }).click();
  await until(better, 'the panel is back', 90_000);
  await becomes(async () => (await panel(w)).getByRole('checkbox', { name: 'Hide identical' }).isChecked(), true);
});

step('texts and a model are picked in dialogs of the form, and written into the text', async (w) => {
  const file = path.join(workspace, 'w2-rank32.lrqat.json');
  const before = readFileSync(file, 'utf8');
  await w.page.locator('.tab', { hasText: 'w2-rank32.lrqat.json' }).click();
  const form = await Form.of(w);
  await form
    .field('data.train')
    .getByRole('button', { name: /Add Files…$/ })
    .click();
  await w.choosePath(path.join(workspace, 'README.md'));
  await form.field('data.train').getByText('README.md').waitFor();
  await form.field('model.path').getByRole('button', { name: 'Choose Model…' }).click();
  await w.pick('Browse …');
  const elsewhere = path.join(suite.sampleWorkspace(1), 'model');
  await w.choosePath(elsewhere);
  const shownPath = form.field('model.path').locator('vscode-text-field input').first();
  await becomes(() => shownPath.inputValue(), elsewhere);
  await w.command('File: Save');
  const picked = before
    .replace('["train.txt"]', '["train.txt", "README.md"]')
    .replace('"path": "model"', `"path": ${JSON.stringify(elsewhere)}`);
  await until(() => readFileSync(file, 'utf8') === picked, 'both are in the text, and all else as it was');
});
