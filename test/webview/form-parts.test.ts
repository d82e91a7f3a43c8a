// The pure parts of the form: fields from the schema, live values, numbers as they are typed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { activationSettings, resolveActivations } from '../../src/experiment/activations';
import { distillationOf } from '../../src/experiment/distillation';
import { trainedFloats } from '../../src/experiment/float-groups';
import { FLOAT_GROUPS } from '../../src/experiment/float-parameters';
import { resolveLinears } from '../../src/experiment/linears';
import { startOf } from '../../src/experiment/start';
import type { ModelShape } from '../../src/formats';
import { allKeyPaths } from '../../src/experiment/overrides';
import { ExperimentSchema, type Experiment } from '../../src/experiment';
import { view } from '../../src/experiment/allowed';
import { noEffect } from '../../webview/form/effects';
import { numberOf, shownValue } from '../../webview/form/values';
import { fieldsOf, layerFields, nearestStop, sliderStops, type Field } from '../../webview/form/fields';
import { boundsOf, filled, planOf, valueAt, withValue } from '../../webview/form/live';
import { pageState, Set as SetValue, Weights } from '../../webview/form/protocol';
import { titled } from '../../webview/form/strings';
import { sampleFacts } from './browser/form-page';

const fields = fieldsOf();
const field = (id: string): Field => fields.find((each) => each.id === id)!;

test('every key of the schema has one field with a title, a place and help', () => {
  const leaves = allKeyPaths().filter((id, _, all) => !all.some((other) => other.startsWith(`${id}.`)));
  assert.deepEqual(fields.map(({ id }) => id).sort(), [...leaves].sort());
  for (const { id, description } of [...fields, ...layerFields()]) {
    assert.notEqual(description, '', id);
  }
  const known = fields.filter(({ content }) => content.kind !== 'unknown');
  for (const { id, group } of [...known, ...layerFields()]) {
    assert.ok(titled.has(id), id);
    assert.notEqual(group, 'other', id);
  }
});

test('what a key may hold decides its control', () => {
  const kinds = (id: string): unknown => field(id).content.kind;
  assert.equal(kinds('model.path'), 'model');
  assert.equal(kinds('data.train'), 'files');
  assert.equal(kinds('quantization.weights.granularity'), 'granularity');
  assert.equal(kinds('quantization.layers'), 'layers');
  const activations = field('quantization.activations').content;
  assert.ok(activations.kind === 'activations');
  assert.deepEqual(
    activations.presets.map(({ value }) => value),
    ['a8', 'a8-kv4', 'a4'],
  );
  assert.deepEqual(
    activations.settings.map(({ id, content }) => [id.split('.').at(-1), content.kind]),
    [
      ['bits', 'number'],
      ['kvBits', 'number'],
      ['normOutputs', 'boolean'],
      ['sites', 'choices'],
      ['zeroPoint', 'choice'],
      ['range', 'choice'],
      ['sequences', 'number'],
      ['symmetric', 'boolean'],
      ['learn', 'boolean'],
      ['learningRate', 'number'],
      ['gradientScaling', 'boolean'],
    ],
  );
  assert.ok(activations.settings.every(({ id, description }) => titled.has(id) && description !== ''));
  assert.ok(activations.settings.every(({ defaultValue }) => defaultValue !== undefined));
  for (const group of FLOAT_GROUPS) {
    assert.deepEqual(field(`training.learningRate.${group}`).content, { kind: 'switched', off: null, on: 5e-5 });
  }
  assert.equal(kinds('training.distillation.weight'), 'switched');
  assert.equal(kinds('quantization.learnScales'), 'boolean');
  assert.equal(kinds('evaluation.kinds'), 'choices');
  assert.equal(kinds('memoryLimit'), 'textOrNumber');
  assert.deepEqual(field('threads').content, { kind: 'number', integer: true, instead: 'auto' });
  assert.deepEqual(field('training.gradientClip').content, { kind: 'number', integer: false, instead: null });
  assert.equal(field('training.steps').unit, 'steps');
  assert.equal(field('training.steps').defaultValue, 1000);
  assert.equal(field('data.train').defaultValue, undefined);
});

test('a key of a later schema is shown, and edited in the text', () => {
  const later = { properties: { sweep: { type: 'object', description: 'Runs over values.' } } };
  const [sweep] = fieldsOf(later);
  assert.deepEqual([sweep?.content.kind, sweep?.group, sweep?.id], ['unknown', 'other', 'sweep']);
  assert.equal(fieldsOf(view(ExperimentSchema)).length, fields.length);
});

const METHODS = ['lr-qat', 'lsq', 'peqa', 'gptq', 'rtn'] as const;

/** Other values of a field that the schema allows. */
function otherValues({ content, id }: Field): readonly unknown[] {
  switch (content.kind) {
    case 'boolean':
      return [true, false];
    case 'choice':
      return content.options.map(({ value }) => value);
    case 'switched':
      return [content.off, content.on];
    case 'number':
      return id.endsWith('Ratio') || id.includes('earningRate') || content.instead === null ? [0, 1] : [1, 2, 16];
    default:
      return [];
  }
}

/** What the trainer makes of an experiment, as far as the rules of effects speak of it. */
function meaningOf(experiment: Experiment, shape: ModelShape): string {
  // What stands in the settings of the engine and is not read there.
  const linears = Object.values(resolveLinears(experiment, shape)).map((linear) => {
    if (linear === null) return null;
    const { alpha, encoding, scaleDomain, ...rest } = linear;
    return {
      ...rest,
      ...(rest.rank > 0 ? { alpha } : {}),
      ...(rest.storage === 'fixed-point' ? { encoding } : {}),
      ...(rest.learnScales ? { scaleDomain } : {}),
    };
  });
  const start = startOf(experiment);
  const activations = resolveActivations(experiment);
  const ranges = activations?.staticRanges;
  return JSON.stringify([
    linears,
    start,
    start?.gptq === true ? experiment.quantization.gptq : null,
    activations === null ? null : { ...activations, staticRanges: null },
    ranges?.learn === true ? ranges : ranges?.symmetric,
    ranges === undefined ? null : activationSettings(experiment.quantization.activations!).sequences,
    distillationOf(experiment),
    trainedFloats(experiment, shape),
  ]);
}

test('what is said to have no effect has none, whatever the method, the start and the grids', async () => {
  const { shape } = await sampleFacts();
  const bounds = boundsOf(filled({}), await sampleFacts());
  const settings = fields.flatMap(({ content }) => (content.kind === 'activations' ? content.settings : []));
  let silent = 0;
  for (const method of METHODS) {
    for (const [symmetric, storage, integers, lowRank, activations] of [
      [true, 'fixed-point', 'round-to-nearest', 'zero', null],
      [false, 'integer', 'gptq', 'svd', { bits: 8, sites: ['mlp-product'] }],
      [false, 'fixed-point', 'gptq', 'zero', { range: 'static' }],
      [true, 'integer', 'round-to-nearest', 'svd', { range: 'static', learn: true }],
    ] as const) {
      const start = { integers, lowRank };
      const written = { quantization: { method, weights: { symmetric }, storage, start, activations } } as never;
      const experiment = filled(written);
      const meaning = meaningOf(experiment, shape);
      const inside = activations === null ? [] : settings;
      for (const each of [...fields, ...inside]) {
        if (noEffect(each.id, experiment, bounds) === null) continue;
        silent++;
        for (const value of otherValues(each)) {
          const changed = filled(withValue(written, each.path, value) as never);
          assert.ok(meaningOf(changed, shape) === meaning, `${method}: ${each.id} = ${String(value)}`);
        }
      }
    }
  }
  assert.ok(silent > 200, String(silent));
});

test('what a method uses is there', () => {
  const silent = (method: string, more: object = {}): string[] => {
    const experiment = filled({ quantization: { method, ...more } });
    const bounds = boundsOf(experiment, null);
    return fields.filter(({ id }) => noEffect(id, experiment, bounds) !== null).map(({ id }) => id);
  };
  const RANK = 'quantization.lowRank.rank';
  assert.ok(!silent('lr-qat').includes(RANK) && silent('lsq').includes(RANK) && silent('rtn').includes(RANK));
  assert.ok(!silent('lsq').includes('training.learningRate.weights'));
  assert.ok(!silent('gptq').includes('quantization.gptq.damping'));
  assert.ok(!silent('peqa', { start: { integers: 'gptq' } }).includes('quantization.gptq.damping'));
  assert.ok(!silent('gptq').includes('training.seed') && silent('rtn').includes('training.seed'));
  for (const method of METHODS) {
    for (const id of ['quantization.weights.bits', 'training.microBatchSize', 'evaluation.kinds', 'model.path']) {
      assert.ok(!silent(method).includes(id), `${method}: ${id}`);
    }
  }
  // Wrong types say nothing.
  const wrong = filled({ quantization: null, training: 'fast', evaluation: 1 });
  for (const { id } of fields) assert.equal(noEffect(id, wrong, boundsOf(wrong, null)), null, id);
});

test('sliders stop where values are worth it and allowed', async () => {
  const facts = await sampleFacts();
  const experiment = filled({ training: { batchSize: 12 } });
  const bounds = boundsOf(experiment, facts);
  assert.equal(bounds.maxPositions, facts.shape.maxPositions);
  assert.deepEqual(sliderStops('training.microBatchSize', experiment, bounds), [1, 2, 3, 4, 6, 12]);
  const ranks = sliderStops('quantization.lowRank.rank', experiment, bounds)!;
  assert.ok(ranks.every((rank) => rank <= bounds.largestRank) && ranks.includes(32));
  assert.ok(sliderStops('data.sequenceLength', experiment, bounds)!.every((length) => length <= bounds.maxPositions));
  assert.equal(sliderStops('training.seed', experiment, bounds), null);
  assert.equal(nearestStop([1, 2, 4, 8], 5), 2);
  assert.equal(nearestStop([1, 2, 4, 8], Number.NaN), 0);
});

test('a plan follows a value that is not in the text', async () => {
  const facts = await sampleFacts();
  const written = { model: { path: 'model' }, data: { train: ['a'] } };
  const at = (path: string[], value: unknown): number =>
    planOf(filled(withValue(written, path, value) as never), facts)?.total ?? 0;
  const rank = ['quantization', 'lowRank', 'rank'];
  assert.ok(at(rank, 64) > at(rank, 8));
  assert.equal(at(rank, 32), planOf(filled(written), facts)?.total);
  assert.equal(planOf(filled(withValue(written, ['quantization'], null) as never), facts), null);
  assert.equal(planOf(filled(withValue(written, ['memoryLimit'], 'much') as never), facts), null);
  assert.deepEqual(withValue({ a: [1, 2] }, ['a', 1], 3), { a: [1, 3] });
  assert.equal(valueAt(written, ['data', 'train', 0]), 'a');
  assert.equal(valueAt(written, ['__proto__', 'x']), undefined);
});

test('numbers are read as people type them', () => {
  assert.equal(numberOf('1e-3', false), 0.001);
  assert.equal(numberOf('0,5', false), 0.5);
  assert.equal(numberOf('10 000', true), 10_000);
  assert.equal(numberOf('1.5', true), null);
  for (const none of ['', 'x', '0x10', '1e999', '--1', 'Infinity']) assert.equal(numberOf(none, false), null, none);
  assert.equal(shownValue(1e-5), '1e-5');
  assert.equal(shownValue({ group: 128 }), '{ "group": 128 }');
});

test('messages are checked at the door', () => {
  assert.throws(() => SetValue.check({ path: ['a', -1], value: 1 }, 'm'), /position/);
  assert.throws(() => SetValue.check({ path: ['a'], value: () => 1 }, 'm'), /JSON/);
  const values = new Float32Array(4).buffer;
  assert.throws(() => Weights.check({ model: 'm', linear: 'l', rows: 2, columns: 3, values }, 'm'), /24 bytes/);
  assert.equal(pageState({ version: '2' }), null);
});
