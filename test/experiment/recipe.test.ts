// Differences from the published recipe.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseExperiment, type Experiment } from '../../src/experiment';
import { allKeyPaths, applyOverrides } from '../../src/experiment/overrides';
import { pathText } from '../../src/experiment/problem';
import { recipeDifferences, recipePaths } from '../../src/experiment/recipe';

function experiment(...sets: string[]): Experiment {
  const text = applyOverrides('{ "model": { "path": "m" }, "data": { "train": ["t.txt"] } }', sets);
  const { experiment: parsed, problems } = parseExperiment(text, 'x.lrqat.json');
  assert.ok(parsed !== undefined, JSON.stringify(problems));
  return parsed;
}

const differing = (...sets: string[]): string[] =>
  recipeDifferences(experiment(...sets)).map(({ path }) => pathText(path));

test('defaults are the recipe but for the length of the training', () => {
  assert.deepEqual(differing(), ['training.steps']);
  assert.deepEqual(differing('training.steps=10000'), []);
});

test('every setting of it is a key of the schema', () => {
  const known = new Set(allKeyPaths());
  for (const path of recipePaths) assert.ok(known.has(path), path);
});

test('where the paper leaves a choice each of its values is right', () => {
  const steps = 'training.steps=10000';
  assert.deepEqual(differing(steps, 'quantization.weights.granularity={"group":128}'), []);
  assert.deepEqual(differing(steps, 'quantization.weights.granularity={"group":64}'), [
    'quantization.weights.granularity',
  ]);
  const twoBits = [steps, 'quantization.weights.bits=2', 'quantization.weights.range=mse'];
  assert.deepEqual(differing(...twoBits, 'training.learningRate.scales=1e-4'), ['quantization.weights.symmetric']);
  const paper = [...twoBits, 'quantization.weights.symmetric=false', 'training.learningRate.scales=1e-4'];
  assert.deepEqual(differing(...paper), []);
  assert.deepEqual(differing(steps, 'training.learningRate.scales=1e-4'), ['training.learningRate.scales']);
  assert.deepEqual(differing(steps, 'quantization.weights.range=mse'), ['quantization.weights.range']);
  assert.deepEqual(differing(steps, 'quantization.fractionBits=4'), []);
  assert.deepEqual(differing(steps, 'quantization.fractionBits=2'), ['quantization.fractionBits']);
});

test('what does not change the result is no matter of it; rounding alone differs in the method', () => {
  assert.deepEqual(differing('training.steps=10000', 'training.distillation.weight=0.5'), [
    'training.distillation.weight',
  ]);
  const neutral = ['training.microBatchSize=1', 'threads=1', 'compute=float32', 'evaluation.everySteps=7'];
  assert.deepEqual(differing('training.steps=10000', ...neutral), []);
  assert.deepEqual(differing('quantization.method=rtn', 'training.batchSize=4'), ['quantization.method']);
});

test('the sample says what it does otherwise', () => {
  const text = readFileSync('samples/first-run/w2-rank32.lrqat.json', 'utf8');
  const { experiment: sample } = parseExperiment(text, 'w2-rank32.lrqat.json');
  assert.ok(sample !== undefined);
  assert.deepEqual(
    recipeDifferences(sample).map(({ path, value }) => [pathText(path), value]),
    [
      ['data.sequenceLength', 256],
      ['quantization.weights.symmetric', true],
      ['quantization.lowRank.alpha', 32],
      ['training.steps', 150],
      ['training.batchSize', 8],
      ['training.learningRate.lowRank', 4e-3],
      ['training.learningRate.scales', 5e-4],
    ],
  );
});
