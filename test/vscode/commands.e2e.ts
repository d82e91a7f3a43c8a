// What a user does beside training: several runs at once, notes, deleting with the size in view, curves laid over each other and
// exported, new experiments, a second start, a folder that cannot be written.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Charts } from './charts';
import { recordedRun } from './recorded-runs';
import { becomes, pictured, stopRuns, Suite, until } from './suite';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
let window: Window | undefined;
let [one, other] = ['', ''];
/** Mounted read-only for the server where that is possible (root), null elsewhere. */
let readOnly: string | null = null;

before(async () => {
  readOnly = mkdtempSync(path.join(os.tmpdir(), 'lrqat-read-only-'));
  const mount = `mount --bind '${readOnly}' '${readOnly}' && mount -o remount,bind,ro '${readOnly}' && exec "$@"`;
  const within = ['unshare', '--mount', 'sh', '-c', mount, 'sh'];
  const isPossible = spawnSync('unshare', [...within.slice(1), 'true']).status === 0;
  if (!isPossible) {
    rmSync(readOnly, { recursive: true });
    readOnly = null;
  }
  suite = await Suite.start({ within: isPossible ? within : [] });
  workspace = suite.sampleWorkspace(100_000);
  one = await recordedRun(workspace, 'w2-rank32');
  other = await recordedRun(workspace, 'w2-rank8');
  if (readOnly !== null) await recordedRun(suite.sampleWorkspace(10, { into: readOnly }), 'w2-rank32');
  window = await suite.open({ folder: workspace });
});
after(async () => {
  // Also when a step has failed: a run belongs to no window.
  await stopRuns(workspace);
  await suite.stop();
  if (readOnly !== null) rmSync(readOnly, { recursive: true, force: true });
});

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

const notes = (directory: string): unknown => {
  const file = path.join(directory, 'notes.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
};
const runsFolder = (): string => path.join(workspace, '.lrqat', 'runs');
const runs = (): string[] => readdirSync(runsFolder());
const checkpoints = (directory: string): string[] => readdirSync(path.join(directory, 'checkpoints'));

step('a star, tags and a note on several runs at once, and off again', async (w) => {
  await w.activity('LR-QAT');
  const rows = w.tree(/stopped/);
  await rows.nth(1).waitFor();
  await w.select(rows.nth(0), rows.nth(1));
  await w.menuOf(rows.nth(1), /^Star$/);
  await until(() => [one, other].every((run) => JSON.stringify(notes(run)) === '{"star":true}'), 'both have a star');
  await w.menuOf(rows.nth(1), /^Edit Tags…$/);
  await w.answer('#ablation, rank');
  const tagged = '{"star":true,"tags":["ablation","rank"]}';
  await until(() => [one, other].every((run) => JSON.stringify(notes(run)) === tagged), 'both have the tags');
  await w.menuOf(rows.nth(1), /^Remove Star$/);
  const plain = '{"tags":["ablation","rank"]}';
  await until(() => [one, other].every((run) => JSON.stringify(notes(run)) === plain), 'the stars are gone');
  // A note is one run's: the one whose menu it is, also with several selected.
  const noted = () => [one, other].filter((run) => 'note' in (notes(run) as object));
  await w.menuOf(rows.nth(1), /^Edit Note…$/);
  await w.answer('spikes at step 40');
  await until(() => noted().length === 1, 'one has a note');
  assert.equal((notes(noted()[0] ?? '') as { note: string }).note, 'spikes at step 40');
  const input = w.quickPick().locator('input[type=text]');
  await w.menuOf(rows.nth(1), /^Edit Note…$/, input);
  await becomes(() => input.inputValue(), 'spikes at step 40');
  await w.answer('');
  await until(() => noted().length === 0, 'the note is gone');
});

step('Delete Checkpoints names the runs and the size, of one and of several', async (w) => {
  const rows = w.tree(/stopped/);
  const newest = path.join(runsFolder(), runs().sort().at(-1) ?? '');
  const dialog = w.dialog();
  await w.select(rows.nth(0));
  await w.menuOf(rows.nth(0), /^Delete Checkpoints…$/);
  await dialog.getByText(/Delete the checkpoints of .*\(2\.86 MiB\)\?/).waitFor();
  await dialog.getByText(path.basename(newest)).waitFor();
  await dialog.getByRole('button', { name: 'Keep the Newest' }).click();
  await until(() => checkpoints(newest).join() === 'step-00000100', 'one checkpoint is left');
  await w.select(rows.nth(0), rows.nth(1));
  await w.menuOf(rows.nth(1), /^Delete Checkpoints…$/);
  await dialog.getByText('Delete the checkpoints of 2 runs (4.29 MiB)?').waitFor();
  await dialog.getByRole('button', { name: 'Delete All' }).click();
  await until(() => [one, other].every((run) => checkpoints(run).length === 0), 'no checkpoint is left');
});

step('one more run is laid over the charts; picture and data are exported', async (w) => {
  await w.closeEditors();
  await w.select(w.tree(/stopped/).nth(0));
  const frame = await w.webview('[data-chart="loss"]');
  const charts = await Charts.of(w);
  await until(async () => (await charts.inkOf('loss')) > 200, 'a curve in pixels');
  await frame.getByRole('button', { name: 'Add Run…' }).click();
  await w.pickAll(1);
  await until(async () => (await frame.locator('.runs .run').count()) === 2, 'two runs in the panel');
  await w.page.locator('.tab.active', { hasText: /w2-rank.* \+1/ }).waitFor();

  const folder = suite.folder();
  const [png, csv] = [path.join(folder, 'loss.png'), path.join(folder, 'all.csv')];
  const size = await charts.sizeOf('loss');
  await frame.getByRole('button', { name: 'Loss: save as PNG' }).click();
  await w.choosePath(png);
  await until(() => existsSync(png) && readFileSync(png).length > 1000, 'a picture');
  const picture = readFileSync(png);
  assert.equal(picture.subarray(1, 4).toString(), 'PNG');
  assert.equal(picture.readUInt32BE(16), 2 * size.width, 'twice the resolution of the screen');
  assert.ok(picture.readUInt32BE(20) > 2 * size.height, 'with room for title and legend');

  await frame.getByRole('button', { name: /^Export CSV/ }).click();
  await w.choosePath(csv);
  // A heading, and each step of each run once.
  await becomes(() => readFileSync(csv, 'utf8').trim().split('\n').length, 1 + 2 * 150);
});

step(
  'a run that is half copied, damaged or of a later version says so; one that is deleted while it is shown as well',
  async (w) => {
    const copy = (name: string): string => {
      const directory = path.join(runsFolder(), name);
      cpSync(one, directory, { recursive: true });
      return directory;
    };
    const [later, damaged, half, shown] = ['later', 'damaged', 'half', 'shown'].map((name, at) =>
      copy(`20250101-00000${String(at)}-${name}`),
    ) as [string, string, string, string];
    try {
      writeFileSync(path.join(later, 'status.json'), JSON.stringify({ schema: 9, state: 'dreaming' }));
      writeFileSync(path.join(damaged, 'status.json'), '{"sta');
      truncateSync(path.join(shown, 'metrics.jsonl'), readFileSync(path.join(shown, 'metrics.jsonl')).length - 7);
      rmSync(path.join(half, 'status.json'));
      // Younger ones may be on their way.
      const old = new Date(Date.now() - 120_000);
      utimesSync(half, old, old);
      await w.command('LR-QAT: Refresh');
      await w.activity('LR-QAT');
      for (const reason of [/schema 9, newer than/, /status\.json is damaged/, /status\.json is missing/]) {
        await w.tree(reason).first().waitFor();
      }
      await w.closeEditors();
      await w.select(w.tree(/2025-01-01 00:00\s*stopped/));
      const charts = await Charts.of(w, 'stopped');
      await until(async () => (await charts.number('loss', 'points')) > 100, 'all but the line that was cut');
      rmSync(shown, { recursive: true });
      const frame = await w.webview('.advice');
      await frame.getByText(/deleted or moved/).waitFor();
      await until(async () => (await charts.inkOf('loss')) > 200, 'what was known stays');
    } finally {
      for (const directory of [later, damaged, half, shown]) rmSync(directory, { recursive: true, force: true });
    }
    await w.tree(/schema 9, newer than/).waitFor({ state: 'detached' });
  },
);

step('New Experiment: template, model of the workspace, name', async (w) => {
  await w.command('LR-QAT: New Experiment…');
  await w.pick('3 bits per channel');
  await w.pick(/^model/);
  await w.answer('three');
  await w.page.locator('.tab.active', { hasText: 'three.lrqat.json' }).waitFor();
  const text = readFileSync(path.join(workspace, 'three.lrqat.json'), 'utf8');
  assert.match(text, /"bits": 3/);
  assert.match(text, /"path": "model"/);
  assert.match(text, /"train": \["train.txt"\]/);
  await w.page.locator('.codelens-decoration', { hasText: /Start Training/ }).waitFor();
});

step('New Experiment: a model folder from elsewhere, and a name that is taken', async (w) => {
  const elsewhere = suite.sampleWorkspace(1);
  await w.command('LR-QAT: New Experiment…');
  await w.pick('Rounding only');
  await w.pick('Browse …');
  await w.choosePath(path.join(elsewhere, 'model'));
  const input = w.quickPick().locator('input[type=text]');
  await w.quickPick().getByText('(3/3)').waitFor();
  await input.fill('three');
  await w.quickPick().getByText('three.lrqat.json exists already').waitFor();
  await w.answer('four');
  await w.page.locator('.tab.active', { hasText: 'four.lrqat.json' }).waitFor();
  const text = readFileSync(path.join(workspace, 'four.lrqat.json'), 'utf8');
  assert.ok(text.includes(JSON.stringify(path.join(elsewhere, 'model'))), text);
});

step('the same experiment a second time asks first; several runs are stopped together', async (w) => {
  await w.activity('LR-QAT');
  const before = runs().length;
  const sample = w.tree('w2-rank32').first();
  await w.menuOf(sample, /^Start Training$/);
  await w.tree(/\d+% · loss/).waitFor({ timeout: 120_000 });
  // In training, and out of the way of what follows.
  const charts = await Charts.of(w, 'running');
  await charts.press('pause');
  await w.tree(/paused/).waitFor({ timeout: 120_000 });
  const dialog = w.dialog();
  const question = dialog.getByText(/w2-rank32 is in training already \(\d+% done\)/);
  await w.menuOf(sample, /^Start Training$/, question);
  await dialog.getByRole('button', { name: 'Show the Running One' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(runs().length, before + 1, 'nothing was started');
  await w.menuOf(sample, /^Start Training$/, question);
  await dialog.getByRole('button', { name: 'Start Another Run' }).click();
  await until(() => runs().length === before + 2, 'a second run', 120_000);
  // What trains stands first.
  const rows = w.tree(/^\d\d:\d\d:\d\d/);
  await until(async () => (await rows.count()) === before + 2, 'the explorer shows it');
  await w.select(rows.nth(0), rows.nth(1));
  await w.menuOf(rows.nth(1), /^Stop…$/, dialog.getByText('Stop 2 runs?'));
  await dialog.getByRole('button', { name: 'Stop Now' }).click();
  await until(async () => (await w.tree(/stopped/).count()) === before + 2, 'all runs are stopped', 120_000);
});

step('several runs are deleted at once, after a question that names them and their size', async (w) => {
  const rows = w.tree(/stopped/);
  const before = runs();
  const dialog = w.dialog();
  await w.select(rows.nth(0), rows.nth(1));
  await w.menuOf(rows.nth(1), /^Delete Run…$/, dialog.getByText(/^Delete 2 runs \([\d.]+ [KM]iB\)\?$/));
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.deepEqual(runs(), before, 'nothing goes before the answer');
  await w.menuOf(rows.nth(1), /^Delete Run…$/, dialog.getByText('Delete 2 runs'));
  await dialog.getByText('There is no trash here').waitFor();
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
  await until(() => runs().length === before.length - 2, 'two folders are gone');
  await until(async () => (await rows.count()) === before.length - 2, 'the explorer shows it');
});

step('a training in a terminal appears by itself', async (w) => {
  const file = path.join(workspace, 'terminal.lrqat.json');
  const sample = readFileSync(path.join(workspace, 'w2-rank32.lrqat.json'), 'utf8');
  writeFileSync(file, sample.replace('"name": "w2-rank32"', '"name": "terminal"'));
  const set = ['training.steps=1', 'evaluation.maxBatches=1', 'data.sequenceLength=32'];
  const args = ['dist/cli.js', 'train', file, '--foreground', ...set.flatMap((each) => ['--set', each])];
  const trained = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(trained.status, 0, trained.stdout + trained.stderr);
  await w.tree(/terminal\s*1 run · best \d/).waitFor();
});

step('a folder that cannot be written shows its runs, and says why nothing else works', async () => {
  if (readOnly === null) return;
  const w = await suite.open({ folder: readOnly });
  window = w;
  await w.activity('LR-QAT');
  const row = w.tree(/stopped/).first();
  await w.menuOf(row, /^Star$/);
  await w.toast(/notes\.json.* cannot be written: the file system is read-only/).waitFor();
  await w.command('Notifications: Clear All Notifications');
  await w.command('LR-QAT: Start Training');
  await w.toast(/runs: cannot be written to \(the file system is read-only\)/).waitFor();
  await w.toast(/Choose a Folder/).waitFor();
  await row.click();
  const charts = await Charts.of(w);
  await until(async () => (await charts.inkOf('loss')) > 200, 'a curve in pixels');
});
