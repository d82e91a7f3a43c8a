import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { parseTags } from '../../src/editor/commands/tags';
import { duplicateText, nextName } from '../../src/editor/experiments/duplicate';
import { cachedModels } from '../../src/editor/experiments/model-choices';
import { guessTexts, templates, templateText } from '../../src/editor/experiments/templates';
import { parseExperiment, resolvePaths, type Experiment } from '../../src/experiment';

function parsed(text: string, file: string): Experiment {
  const { experiment, problems } = parseExperiment(text, file);
  assert.ok(experiment !== undefined, JSON.stringify(problems));
  return experiment;
}

test('every template is an experiment without problems', () => {
  for (const template of templates()) {
    for (const train of [[], ['a.txt', 'b.txt']]) {
      const text = templateText({ template, model: 'models/"tiny"', train, validation: [] });
      const { experiment, problems } = parseExperiment(text, `${template.name}.lrqat.json`);
      assert.deepEqual(problems, [], template.id);
      assert.equal(experiment?.model.path, 'models/"tiny"');
      assert.deepEqual(experiment.data.train, train.length === 0 ? ['train.txt'] : train);
    }
  }
});

test('texts are guessed by their names', () => {
  const files = ['README.md', 'train.txt', 'wiki.validation.jsonl', 'train.parquet', 'test.txt'];
  assert.deepEqual(guessTexts(files), { train: ['train.txt'], validation: ['wiki.validation.jsonl'] });
  assert.deepEqual(guessTexts(['a.txt']), { train: [], validation: [] });
});

test('a duplicate says what differs from the defaults, and resolves to the same experiment', () => {
  const folder = path.resolve('/home/me/project');
  const file = path.join(folder, 'a.lrqat.json');
  const text = JSON.stringify({
    model: { path: 'model' },
    data: { train: ['texts/*.txt', '/elsewhere/big.bin'], validation: ['v.txt'], sequenceLength: 256 },
    quantization: { weights: { bits: 3, granularity: { group: 64 } }, layers: [{ match: '*.down_proj', bits: 8 }] },
    training: { steps: 7, learningRate: { lowRank: 0.002 } },
  });
  const frozen = resolvePaths(parsed(text, file), file, {}, () => true);
  const copy = duplicateText(frozen, folder, 'a-2', '20250101-000000-a');
  assert.match(copy, /^\/\/ Made from the run 20250101-000000-a\./);
  assert.match(copy, /"train": \[\s*"texts\/\*\.txt",\s*"\/elsewhere\/big\.bin"/);
  for (const absent of ['warmupRatio', 'checkpoint', 'seed', 'microBatchSize', '"scales"']) {
    assert.ok(!copy.includes(absent), absent);
  }
  const again = resolvePaths(parsed(copy, file), file, {}, () => true);
  assert.deepEqual({ ...again, name: '' }, { ...frozen, name: '' });
  assert.equal(again.name, 'a-2');
});

test('names count on', () => {
  assert.equal(
    nextName('w4', () => false),
    'w4-2',
  );
  assert.equal(
    nextName('w4-2', (name) => name === 'w4-2'),
    'w4-3',
  );
});

test('models of the Hugging Face cache by their ids', async () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'lrqat-hub-'));
  try {
    for (const name of [
      'models--Qwen--Qwen3-0.6B',
      'models--meta-llama--Llama-3.2-1B',
      'datasets--x--y',
      'version.txt',
    ]) {
      mkdirSync(path.join(home, 'hub', name), { recursive: true });
    }
    assert.deepEqual(await cachedModels({ HF_HOME: home }), ['meta-llama/Llama-3.2-1B', 'Qwen/Qwen3-0.6B']);
    assert.deepEqual(await cachedModels({ HF_HUB_CACHE: path.join(home, 'nothing') }), []);
  } finally {
    rmSync(home, { recursive: true });
  }
});

test('tags are words without marks, each once', () => {
  assert.deepEqual(parseTags(' #a, b  a,,#c '), ['a', 'b', 'c']);
  assert.deepEqual(parseTags('  '), []);
});
