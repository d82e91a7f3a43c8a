import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { format, resolveConfig } from 'prettier';

import { parseExperiment, type ExperimentInput } from '../../src/experiment';
import { allKeyPaths } from '../../src/experiment/overrides';
import { completionSchema, jsonSchema, referencePage } from '../../src/experiment/reference';

async function assertCurrent(filepath: string, text: string): Promise<void> {
  const expected = await format(text, { ...(await resolveConfig(filepath)), filepath });
  assert.equal(
    readFileSync(filepath, 'utf8'),
    expected,
    `${filepath} is not made from the present schema; run node scripts/generate-schema.mjs`,
  );
}

test('the shipped JSON schema is current', () =>
  assertCurrent('media/experiment.schema.json', JSON.stringify(jsonSchema())));

test('the schema for completion is current, and forbids nothing', () => {
  const schema = completionSchema();
  for (const word of ['required', 'enum', 'minimum', 'pattern', 'additionalProperties'])
    assert.ok(!JSON.stringify(schema).includes(`"${word}":`), word);
  return assertCurrent('media/experiment.completion.schema.json', JSON.stringify(schema));
});

test('the reference page is current', () => assertCurrent('docs/experiment-file.md', referencePage()));

test('every key says what it is', () => {
  const bare: string[] = [];
  const walk = (schema: unknown, path: string): void => {
    const { properties, items, description } = schema as {
      properties?: Record<string, unknown>;
      items?: unknown;
      description?: string;
    };
    if ((description ?? '').length < 10) bare.push(path);
    for (const [key, child] of Object.entries(properties ?? {})) walk(child, `${path}.${key}`);
    const item = items as { properties?: unknown } | undefined;
    if (item?.properties) walk(item, `${path}[]`);
  };
  walk(jsonSchema(), '');
  assert.deepEqual(bare, []);
});

test('every key has its line on the reference page', () => {
  const page = referencePage();
  assert.deepEqual(
    allKeyPaths().filter((path) => !page.includes(`\`${path}\``)),
    [],
  );
});

test('defaults are those of the issue, and the smallest experiment needs nothing else', () => {
  const smallest: ExperimentInput = { model: { path: 'model' }, data: { train: ['train.txt'], validation: ['v.txt'] } };
  const { experiment, problems } = parseExperiment(JSON.stringify(smallest), 'folder/w4.lrqat.json');
  assert.deepEqual(problems, []);
  assert.deepEqual(experiment, {
    name: 'w4',
    model: { path: 'model' },
    data: { train: ['train.txt'], validation: ['v.txt'], field: 'text', sequenceLength: 1024, packing: 'join' },
    quantization: {
      method: 'lr-qat',
      weights: {
        bits: 4,
        granularity: 'per-channel',
        range: 'lp-4',
        scaleDomain: 'linear',
        scaleFormat: 'fp32',
        symmetric: true,
      },
      activations: null,
      start: { integers: 'round-to-nearest', lowRank: 'zero', iterations: 1 },
      gptq: { sequences: 128, damping: 0.01, activationOrder: false },
      storage: 'fixed-point',
      fractionBits: null,
      encoding: 'auto',
      lowRank: { rank: 32, alpha: 1 },
      lsq: { gradientScaling: false },
      learnScales: true,
      learnZeroPoints: true,
      layers: [],
    },
    training: {
      steps: 1000,
      batchSize: 32,
      microBatchSize: 4,
      learningRate: {
        lowRank: 1e-3,
        scales: 1e-5,
        zeroPoints: null,
        weights: 5e-5,
        norms: null,
        head: null,
        embeddings: null,
      },
      schedule: 'linear',
      warmupRatio: 0.1,
      finalLearningRateRatio: 0,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      weightDecay: 0,
      gradientClip: 1,
      seed: 1000,
      distillation: { weight: 0, topK: 64, temperature: 1 },
      activationCheckpointing: 'auto',
    },
    evaluation: {
      everySteps: 50,
      maxBatches: 64,
      kinds: ['validation'],
      wikitext: { files: [], sequenceLength: 2048 },
    },
    checkpoint: { everySteps: 100, keep: 3 },
    device: 'auto',
    compute: 'auto',
    offload: 'auto',
    threads: 'auto',
    memoryLimit: 'auto',
  });
});
