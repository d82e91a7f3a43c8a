import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createRun, findRun, runName, runsFolderAt, runsFolderFor, slug } from '../../src/runs';
import { experimentNamed, temporaryFolder } from './support';

test('runs lie in the nearest .lrqat, else beside the nearest .git, else beside the experiment', (context) => {
  const root = temporaryFolder(context);
  const experiment = path.join(root, 'a', 'b', 'x.lrqat.json');
  mkdirSync(path.dirname(experiment), { recursive: true });
  assert.equal(runsFolderFor(experiment), path.join(root, 'a', 'b', '.lrqat', 'runs'));
  mkdirSync(path.join(root, '.git'));
  assert.equal(runsFolderFor(experiment), path.join(root, '.lrqat', 'runs'));
  mkdirSync(path.join(root, 'a', '.git'));
  assert.equal(runsFolderFor(experiment), path.join(root, 'a', '.lrqat', 'runs'));
  mkdirSync(path.join(root, '.lrqat'));
  assert.equal(runsFolderFor(experiment), path.join(root, '.lrqat', 'runs'), 'any .lrqat goes before any .git');
  assert.equal(runsFolderAt(path.join(root, 'a')), path.join(root, '.lrqat', 'runs'));
  assert.equal(runsFolderFor(experiment, path.join(root, 'elsewhere')), path.join(root, 'elsewhere'));
});

test('names are time and slug, legal on every file system', () => {
  const time = new Date(2026, 0, 5, 7, 8, 9);
  assert.equal(runName('W2 rank/32 – Größe', time), '20260105-070809-w2-rank-32-gro-e');
  assert.equal(runName('x', time, 3), '20260105-070809-x-3');
  assert.equal(slug('模型'), 'run');
  assert.equal(slug('..'), 'run');
  assert.equal(slug(`${'a'.repeat(47)} b`), 'a'.repeat(47));
});

test('creation in the same second gives every run a folder of its own', async (context) => {
  const root = temporaryFolder(context);
  const runsFolder = path.join(root, '.lrqat', 'runs');
  const options = { runsFolder, experiment: experimentNamed('same'), experimentFile: path.join(root, 'x.lrqat.json') };
  const runs = await Promise.all(
    Array.from({ length: 8 }, () => createRun({ ...options, now: () => 1_700_000_000_000 })),
  );
  assert.equal(new Set(runs.map((run) => run.directory)).size, 8);
  assert.equal(readFileSync(path.join(root, '.lrqat', '.gitignore'), 'utf8'), '*\n');
});

test('a run is found by path, name, unique beginning or as the latest', async (context) => {
  const runsFolder = path.join(temporaryFolder(context), 'runs');
  const make = (name: string, day: number): Promise<{ name: string; directory: string }> =>
    createRun({
      runsFolder,
      experiment: experimentNamed(name),
      experimentFile: path.join(runsFolder, 'x.lrqat.json'),
      now: () => new Date(2026, 1, day, 12).getTime(),
    });
  const first = await make('one', 1);
  const second = await make('two', 2);
  assert.equal(findRun(first.directory, 'nowhere'), first.directory);
  assert.equal(findRun(first.name, runsFolder), first.directory);
  assert.equal(findRun('20260202', runsFolder), second.directory);
  assert.equal(findRun('two', runsFolder), second.directory);
  assert.equal(findRun('on', runsFolder), first.directory);
  assert.equal(findRun('latest', runsFolder), second.directory);
  assert.throws(() => findRun('202602', runsFolder), { code: 'AmbiguousRun', message: /20260202-120000-two/ });
  assert.throws(() => findRun('2027', runsFolder), { code: 'NoSuchRun', hint: /20260201-120000-one/ });
  assert.throws(() => findRun('latest', path.join(runsFolder, 'none')), { code: 'NoSuchRun' });
});
