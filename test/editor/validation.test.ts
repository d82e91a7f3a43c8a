import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { askWorld } from '../../src/editor/validation/ask-world';
import { earlierRunOf } from '../../src/editor/validation/earlier-run';
import { lensTitles, rounded } from '../../src/editor/validation/lens-text';
import { WorldClient } from '../../src/editor/validation/world-client';
import { calibrationFromGemm, parseExperiment, resolvePaths } from '../../src/experiment';
import type { NativeProbe } from '../../src/launch/probe-native';
import { createRun } from '../../src/runs';
import { listedRun } from './runs';
import type { EstimateSummary, WorldQuestion } from '../../src/editor/validation/world-protocol';

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
  earlier: null,
});

test('the sample has no problems, and an estimate', async () => {
  const { problems, experiment, estimate } = await askWorld(question(sample));
  assert.deepEqual(problems, []);
  assert.equal(experiment?.model.path, path.join(folder, 'model'));
  assert.ok(estimate !== null && estimate.fits && estimate.total > 1e6);
});

test('times follow what was measured of such a run', async () => {
  const { estimate: guess, toMeasure } = await askWorld(question(sample));
  assert.ok(guess !== null && !guess.calibrated && toMeasure !== null);
  assert.equal(toMeasure.experiment.model.path, path.join(folder, 'model'));
  const rates = { [toMeasure.key]: calibrationFromGemm(1e9, 1e10) };
  const measured = await askWorld({ ...question(sample), rates });
  assert.ok(measured.estimate?.calibrated === true);
  assert.equal(measured.toMeasure, null);
  assert.ok(measured.estimate.trainingSeconds > guess.trainingSeconds, 'a thousand times slower than a guess');
});

test('other bits follow from the same measurement, other sequences do not', async () => {
  const keyOf = async (text: string): Promise<string | undefined> => (await askWorld(question(text))).toMeasure?.key;
  const key = await keyOf(sample);
  assert.ok(key !== undefined);
  assert.equal(await keyOf(sample.replace('"bits": 2', '"bits": 3')), key);
  assert.notEqual(await keyOf(sample.replace('"sequenceLength": 256', '"sequenceLength": 128')), key);
});

/** What the probe of a machine with this GPU says. */
const h200: NativeProbe = {
  ok: true,
  files: { addon: '/lib/lrqat.node', oneDnn: null, cuda: '/lib/liblrqat_cuda.so' },
  engineVersion: '0.1.0',
  cpu: { isa: 'avx512', bf16: 'amx', logicalCores: 16, gemm: { library: 'oneDNN', version: '3' } },
  cuda: {
    library: '/lib/liblrqat_cuda.so',
    info: {
      runtime: '13.0',
      driver: '13.0',
      devices: [
        {
          ...{ index: 0, name: 'NVIDIA H200', uuid: 'GPU-0', computeCapability: '9.0', multiprocessors: 132 },
          ...{ totalBytes: 150e9, freeBytes: 149e9 },
        },
      ],
    },
    problem: null,
    cublasLt: '/lib/libcublasLt.so.13',
    searched: [],
  },
};

test('a GPU has times as well: guessed, then as fast as an earlier run on it was', async () => {
  const onGpu = { ...question(sample), probe: h200 };
  const { problems, estimate: guess, toMeasure } = await askWorld(onGpu);
  assert.deepEqual(problems, []);
  assert.ok(guess !== null && !guess.calibrated && guess.tokensPerSecond > 0);
  assert.equal(toMeasure, null, 'the processor is not timed for a GPU');
  assert.equal(lensTitles(guess).length, 2, 'memory and time');

  const { experiment } = parseExperiment(sample, file);
  assert.ok(experiment !== undefined);
  const resolved = resolvePaths(experiment, file, {}, () => true);
  const runsFolder = path.join(folder, 'earlier');
  const { directory } = await createRun({ runsFolder, experiment: resolved, experimentFile: file });
  const provenance = path.join(directory, 'provenance.json');
  const written = JSON.parse(readFileSync(provenance, 'utf8')) as object;
  const ranOn = (name: string): void =>
    writeFileSync(provenance, JSON.stringify({ ...written, device: { device: 'cuda', gpu: { name } } }));
  const earlier = { directory, tokensPerSecond: guess.tokensPerSecond / 4 };
  ranOn('NVIDIA H200');
  const { estimate: measured } = await askWorld({ ...onGpu, earlier });
  assert.ok(measured?.calibrated === true);
  assert.ok(Math.abs(measured.trainingSeconds / guess.trainingSeconds - 4) < 1e-6);
  ranOn('NVIDIA A100');
  const { estimate: other } = await askWorld({ ...onGpu, earlier });
  assert.equal(other?.trainingSeconds, guess.trainingSeconds, 'another GPU says nothing about this one');
});

test('of the earlier runs of a file the newest with a speed counts', () => {
  const at = (name: string, created: number, tokensPerSecond: number | null, experimentFile = file) =>
    listedRun(name, { status: { created, tokensPerSecond }, origin: { experimentFile, experimentName: 'a' } });
  const runs = [at('a', 1, 100), at('b', 3, 300), at('c', 2, 200), at('d', 4, null), at('e', 5, 500, '/other')];
  assert.equal(earlierRunOf(file, runs)?.tokensPerSecond, 300);
  assert.equal(earlierRunOf('/none', runs), null);
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
  const { runs: each, ...whole } = plan;
  const memory = Math.max(...each.map((run) => run.memory));
  assert.deepEqual(good.estimate?.sweep, { ...whole, count: 4, tooLarge: 0, memory });
  const onGpu = await askWorld({ ...question(swept.replace('9999', '16')), probe: h200 });
  assert.ok((onGpu.sweep?.plan?.seconds ?? 0) > 0, 'a GPU has times as well');
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
  const [needs, fits] = lensTitles(estimate);
  assert.match(needs ?? '', /^\$\(warning\) needs .* are there/);
  // The same settings with the same size as in the problem's hint, which is what the terminal says.
  const [, help] = /^fits with (.* at least\))$/.exec(fits ?? '') ?? [];
  assert.ok(help !== undefined && memory?.hint?.includes(help) === true, `${String(fits)} of: ${String(memory?.hint)}`);
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
    startSeconds: null,
    teacherSeconds: 0,
    trainingSeconds: 170,
    evaluationSeconds: 13,
    tokensPerSecond: 100,
    calibrated: true,
    bitsPerWeight: 4,
    suggestions: [],
    sweep: null,
  };
  assert.deepEqual(lensTitles(estimate), ['≈ 5.30 GiB, fits', '≈ 3 min']);
  assert.deepEqual(
    lensTitles({ ...estimate, startSeconds: 60, teacherSeconds: 57 }),
    ['≈ 5.30 GiB, fits', '≈ 5 min'],
    'all that a run does counts',
  );
  assert.deepEqual(lensTitles(undefined), ['checking …']);
  assert.deepEqual(lensTitles(null), []);
  const suggestions = [{ title: 'micro-batch 1', least: 3 * 2 ** 30, fits: true }];
  assert.deepEqual(lensTitles({ ...estimate, fits: false, limit: 4 * 2 ** 30, suggestions }), [
    '$(warning) needs 5.30 GiB, 4.00 GiB are there',
    'fits with micro-batch 1 (3.00 GiB at least)',
  ]);
  const sweep = {
    count: 6,
    tooLarge: 0,
    memory: 6 * 2 ** 30,
    seconds: 1000,
    disk: 2 ** 30,
    freeDisk: null,
    fits: true,
  };
  assert.deepEqual(lensTitles({ ...estimate, sweep }), [
    '6 runs',
    'up to 6.00 GiB, fits',
    '≈ 17 min one after the other',
    'up to 1.00 GiB of disk',
  ]);
  const large = { ...sweep, tooLarge: 2, seconds: null, freeDisk: 2 ** 29, fits: false };
  assert.deepEqual(lensTitles({ ...estimate, sweep: large }), [
    '6 runs',
    '$(warning) 2 need more than 8.00 GiB',
    '$(warning) up to 1.00 GiB of disk, 512.0 MiB free',
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
