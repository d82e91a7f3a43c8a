import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { askWorld } from '../../src/editor/validation/ask-world';
import { lensTitles, rounded } from '../../src/editor/validation/lens-text';
import { WorldClient } from '../../src/editor/validation/world-client';
import { rateKey, type EstimateSummary, type WorldQuestion } from '../../src/editor/validation/world-protocol';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-world-'));
after(() => rmSync(folder, { recursive: true, force: true }));
cpSync('samples/first-run', folder, { recursive: true });
const file = path.join(folder, 'w2-rank32.lrqat.json');
const sample = readFileSync(file, 'utf8');

const question = (text: string, id = 1): WorldQuestion => ({
  type: 'question',
  id,
  file,
  text,
  workspaceFolder: folder,
  runsFolder: path.join(folder, '.lrqat', 'runs'),
  probe: null,
  rates: {},
});

test('the sample has no problems, and an estimate', async () => {
  const { problems, experiment, estimate } = await askWorld(question(sample));
  assert.deepEqual(problems, []);
  assert.equal(experiment?.model.path, path.join(folder, 'model'));
  assert.ok(estimate !== null && estimate.fits && estimate.total > 1e6);
});

test('times follow what was measured for the shapes of the step', async () => {
  const { estimate: guess, toMeasure } = await askWorld(question(sample));
  assert.ok(guess !== null && !guess.calibrated && toMeasure !== null);
  assert.ok(toMeasure.products.length >= 7);
  const rates = { [rateKey(toMeasure)]: { gemm: 1e9, bytes: 1e10 } };
  const measured = await askWorld({ ...question(sample), rates });
  assert.ok(measured.estimate?.calibrated === true);
  assert.equal(measured.toMeasure, null);
  assert.ok(measured.estimate.trainingSeconds > guess.trainingSeconds, 'a thousand times slower than a guess');
});

test('a sweep is checked run by run, with what it comes to', async () => {
  const sweep =
    '"sweep": { "quantization.weights.bits": [2, 3], "quantization.lowRank.rank": [8, 9999] }, "training": {';
  const swept = sample.replace('"training": {', sweep);
  const wrong = await askWorld(question(swept));
  assert.equal(wrong.sweep, null);
  assert.equal(wrong.problems.length, 1);
  assert.match(wrong.problems[0]?.message ?? '', /9999 .*\(in .*w2-rank9999 and .*w3-rank9999\)/);
  const good = await askWorld(question(swept.replace('9999', '16')));
  assert.deepEqual(good.problems, []);
  assert.equal(good.sweep?.runs.length, 4);
  assert.equal(good.sweep.runs[0]?.experiment.model.path, path.join(folder, 'model'));
  const { plan } = good.sweep;
  assert.ok(plan !== null && plan.fits && plan.disk > 0 && (plan.seconds ?? 0) > 0);
  assert.equal((await askWorld(question(sample))).sweep, null);
});

test('problems of text, model and data come together, in the order of the file', async () => {
  const text = sample
    .replace('"train.txt"', '"tain.txt"')
    .replace('"granularity": "per-channel"', '"granularity": { "group": 100 }');
  const { problems, experiment } = await askWorld(question(text));
  assert.equal(experiment, null);
  assert.deepEqual(
    problems.map((problem) => problem.path),
    ['data.train[0]', 'quantization.weights.granularity'],
  );
  assert.match(problems[0]?.message ?? '', /did you mean .*train\.txt/);
  assert.ok((problems[0]?.fixes?.length ?? 0) > 0);
  assert.ok((problems[1]?.fixes?.length ?? 0) > 0, 'a group that divides');
});

test('what does not fit names settings that do, as fixes', async () => {
  const text = sample
    .replace('"steps": 150', '"steps": 150')
    .replace('{\n  "name"', '{\n  "memoryLimit": "60 MiB",\n  "name"');
  const { problems, estimate } = await askWorld(question(text));
  const memory = problems.find((problem) => problem.path === 'memoryLimit');
  assert.match(memory?.message ?? '', /needs .* of memory/);
  assert.ok(estimate !== null && !estimate.fits);
  assert.match(lensTitles(estimate).join(' · '), /^\$\(warning\) needs .* are there/);
});

test('an unknown variable in a path is a problem, not an exception', async () => {
  const text = sample.replace('"path": "model"', '"path": "${nowhere}/model"');
  const { problems, estimate } = await askWorld(question(text));
  assert.equal(estimate, null);
  assert.match(problems[0]?.message ?? '', /\$\{nowhere\}/);
});

test('code lens titles', () => {
  const estimate: EstimateSummary = {
    total: 5.3 * 2 ** 30,
    limit: 8 * 2 ** 30,
    fits: true,
    trainingSeconds: 170,
    evaluationSeconds: 13,
    tokensPerSecond: 100,
    calibrated: true,
    bitsPerWeight: 4,
    suggestions: [],
  };
  assert.deepEqual(lensTitles(estimate), ['≈ 5.30 GiB, fits', '≈ 3 min']);
  assert.deepEqual(lensTitles(undefined), ['checking …']);
  assert.deepEqual(lensTitles(null), []);
  const suggestions = [{ title: 'micro-batch 1', set: ['training.microBatchSize=1'], total: 3 * 2 ** 30, fits: true }];
  assert.deepEqual(lensTitles({ ...estimate, fits: false, limit: 4 * 2 ** 30, suggestions }), [
    '$(warning) needs 5.30 GiB, 4.00 GiB are there',
    'fits with micro-batch 1 (3.00 GiB)',
  ]);
  assert.deepEqual([0.2, 17, 47, 197, 1000, 5000, 50_000].map(rounded), [1, 17, 50, 210, 1020, 4800, 50_400]);
});

test('the world thread answers the newest question of a file and survives bad ones', async () => {
  const client = new WorldClient(path.resolve('dist/world-worker.js'));
  try {
    const { id: _, ...asked } = question(sample);
    const answers = await Promise.all([1, 2, 3].map(() => client.ask(asked)));
    assert.equal(answers.at(-1)?.estimate?.fits, true);
    assert.equal(answers[1], null, 'replaced by the third');
    const damaged = await client.ask({ ...asked, text: '{' });
    assert.ok(damaged !== null && damaged.experiment === null);
    assert.ok(damaged.problems.length > 0);
  } finally {
    client.dispose();
  }
});
