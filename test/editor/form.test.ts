// The host's part of the form: changes as edits of the text, how the text stands, weights of the checkpoint.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { State } from '../../webview/form/protocol';
import { editsFor, editsForAll, type Change } from '../../src/editor/form/edits';
import { formState } from '../../src/editor/form/form-state';
import { WorldClient } from '../../src/editor/validation/world-client';
import { parseExperiment } from '../../src/experiment';
import { applyTextEdits } from '../../src/experiment/document';
import { readTensor } from '../../src/formats';

const sample = readFileSync('samples/first-run/w2-rank32.lrqat.json', 'utf8');
const after = (change: Change, text = sample): string => applyTextEdits(text, editsFor(text, change));

test('a slider changes the number and nothing else', () => {
  assert.equal(
    after({ kind: 'set', path: ['quantization', 'weights', 'bits'], value: 4 }),
    sample.replace('"bits": 2', '"bits": 4'),
  );
  assert.deepEqual(editsFor(sample, { kind: 'set', path: ['quantization', 'weights', 'bits'], value: 2 }), []);
});

test('reset takes the key out and leaves every comment', () => {
  const text = after({ kind: 'remove', path: ['data', 'sequenceLength'] });
  assert.equal(parseExperiment(text, 'x').experiment?.data.sequenceLength, 1024);
  assert.ok(text.includes('// The model was pretrained on windows of 256 tokens.'));
  assert.equal(text, sample.replace('    "sequenceLength": 256,\n    ', '    '));
});

test('an exception is appended where there is no list yet, and its keys change alone', () => {
  const layers = ['quantization', 'layers'];
  const one = after({ kind: 'append', path: layers, value: { match: '*.down_proj', bits: 4 } });
  assert.deepEqual(parseExperiment(one, 'x').experiment?.quantization.layers, [{ match: '*.down_proj', bits: 4 }]);
  const eight = after({ kind: 'set', path: [...layers, 0, 'bits'], value: 8 }, one);
  assert.equal(eight, one.replace('"bits": 4', '"bits": 8'));
  const none = after({ kind: 'remove', path: [...layers, 0] }, eight);
  assert.deepEqual(parseExperiment(none, 'x').experiment?.quantization.layers, []);
});

test('several changes are one edit that leaves all else as it was, also where two keys are new at one place', () => {
  const written = sample.replace('"microBatchSize": 8,', '').replace('"schedule": "linear",', '');
  const edits = editsForAll(written, [
    { kind: 'set', path: ['training', 'microBatchSize'], value: 1 },
    { kind: 'set', path: ['training', 'activationCheckpointing'], value: 'block' },
    { kind: 'set', path: ['quantization', 'storage'], value: 'integer' },
  ]);
  assert.equal(edits.length, 1);
  const text = applyTextEdits(written, edits);
  const { experiment } = parseExperiment(text, 'x');
  assert.equal(experiment?.training.microBatchSize, 1);
  assert.equal(experiment.training.activationCheckpointing, 'block');
  assert.equal(experiment.quantization.storage, 'integer');
  for (const [comment] of sample.matchAll(/\/\/.*/g)) assert.ok(text.includes(comment), comment);
  assert.deepEqual(editsForAll(text, [{ kind: 'set', path: ['quantization', 'storage'], value: 'integer' }]), []);
  const train = ['data', 'train'];
  const both = editsForAll(sample, [
    { kind: 'append', path: train, value: 'two.txt' },
    { kind: 'append', path: train, value: 'three.txt' },
  ]);
  assert.equal(applyTextEdits(sample, both), sample.replace('["train.txt"]', '["train.txt", "two.txt", "three.txt"]'));
});

test('places that no experiment has are refused, and so is a broken text', () => {
  const refused: Change[] = [
    { kind: 'set', path: ['quantization', 'bit'], value: 4 },
    { kind: 'set', path: ['training', 'steps', 'x'], value: 4 },
    { kind: 'set', path: ['__proto__', 'x'], value: 4 },
    { kind: 'append', path: ['training', 0], value: 4 },
    { kind: 'set', path: ['data', 'train', 7], value: 'late.txt' },
  ];
  for (const change of refused)
    assert.throws(() => editsFor(sample, change), { code: 'FormPath' }, JSON.stringify(change));
  const broken = sample.replace('"rank": 32,', '"rank": 32');
  const change: Change = { kind: 'set', path: ['training', 'steps'], value: 1 };
  assert.throws(() => editsFor(broken, change), { code: 'FormBroken' });
});

const stateOf = (text: string, before = {}): ReturnType<typeof formState> =>
  formState({
    text,
    version: 7,
    file: 'a.lrqat.json',
    problems: parseExperiment(text, 'a.lrqat.json').problems,
    before,
  });

test('the state is what the text says, without defaults, and passes the page’s check', () => {
  const state = stateOf(sample);
  assert.equal(state.broken, null);
  const { quantization } = state.written as unknown as { quantization: Record<string, unknown> };
  assert.deepEqual(Object.keys(quantization), ['method', 'weights', 'storage', 'lowRank', 'learnScales']);
  assert.equal(State.check(JSON.parse(JSON.stringify(state)), 'state').version, 7);
});

test('of a broken text the last values stay, with the place of the error', () => {
  const before = { training: { steps: 5 } };
  for (const [text, line] of [
    [sample.replace('"rank": 32,', '"rank": 32'), 20],
    ['', 1],
    ['[1, 2]', 1],
    ['{'.repeat(200), 1],
  ] as const) {
    const state = stateOf(text, before);
    assert.deepEqual(state.written, before);
    assert.equal(state.broken?.line, line, text.slice(0, 20));
    assert.notEqual(state.broken.message, '');
  }
});

test('problems say where they belong and what mends them', () => {
  const [problem] = stateOf(sample.replace('"microBatchSize": 8', '"microBatchSize": 3')).problems;
  assert.equal(problem?.path, 'training.microBatchSize');
  assert.equal(problem.severity, 'error');
  assert.ok(
    problem.fixes.some((title) => title.startsWith('Change to')),
    problem.fixes.join(),
  );
});

test('the world thread reads whole rows of a weight', async () => {
  const world = new WorldClient(path.resolve('dist/world-worker.js'));
  try {
    const folder = path.resolve('samples/first-run/model');
    const linear = 'model.layers.0.mlp.down_proj';
    const { rows, columns, values } = await world.sampleWeights(folder, linear);
    const whole = await readTensor(path.join(folder, 'model.safetensors'), `${linear}.weight`);
    assert.equal(values.length, rows * columns);
    const height = whole.length / columns;
    assert.ok(Number.isInteger(height) && rows <= height);
    const row = Math.floor(0.5 * (height / rows));
    const expected = Array.from({ length: columns }, (_, at) => whole[row * columns + at]);
    // The sample's checkpoint is bf16 or float32; both widen exactly.
    if (whole instanceof Float32Array) assert.deepEqual([...values.subarray(0, columns)], expected);
    else assert.ok(values.subarray(0, columns).every((value) => Number.isFinite(value) && value !== 0));
    await assert.rejects(world.sampleWeights(folder, 'model.layers.99.mlp.down_proj'), /has no linear/);
    await assert.rejects(world.sampleWeights('/nowhere', linear), /nowhere/);
  } finally {
    world.dispose();
  }
});
