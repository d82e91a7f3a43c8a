// Every way to store and to quantize trains, and merges without loss.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runTrainer } from '../../src/trainer';
import { newRun, resultOf, sharedFolder, shortExperiment, statusOf, type Changes } from './sample-run';

const folder = sharedFolder();

const cases: Record<string, Changes> = {
  'float32 storage, one scale a tensor': {
    quantization: { storage: 'fp32', weights: { bits: 4, granularity: 'per-tensor', range: 'minmax' } },
  },
  'bf16 storage, groups': { quantization: { storage: 'bf16', weights: { bits: 3, granularity: { group: 64 } } } },
  'fp16 storage, log scales': { quantization: { storage: 'fp16', weights: { bits: 4, scaleDomain: 'log' } } },
  'integer storage, groups with log scales': {
    quantization: { storage: 'integer', weights: { bits: 2, granularity: { group: 32 }, scaleDomain: 'log' } },
  },
  'centred fixed point': { quantization: { storage: 'fixed-point', fractionBits: 2, weights: { bits: 5 } } },
  'mixed bits and float layers': {
    quantization: {
      layers: [
        { match: '*.down_proj', bits: 8 },
        { match: 'model.layers.0.*', skip: true },
      ],
    },
  },
  'scales alone': { quantization: { lowRank: { rank: 0 } } },
  'PEQA with zero points of groups': {
    quantization: { method: 'peqa', weights: { bits: 3, granularity: { group: 32 }, symmetric: false } },
  },
  'LSQ, bf16 products, block checkpointing': {
    compute: 'bf16',
    quantization: { method: 'lsq' },
    training: {
      steps: 2,
      batchSize: 2,
      microBatchSize: 1,
      warmupRatio: 0,
      learningRate: { weights: 1e-3 },
      activationCheckpointing: 'block',
    },
  },
  'low rank alone': { quantization: { learnScales: false } },
  'block checkpointing, bf16 products': {
    compute: 'bf16',
    training: { steps: 2, batchSize: 2, microBatchSize: 1, activationCheckpointing: 'block' },
  },
  documents: { data: { packing: 'documents' } },
  'zero points, fixed point': { quantization: { weights: { bits: 2, range: 'lp-2.4', symmetric: false } } },
  'zero points of groups, integer storage': {
    quantization: { storage: 'integer', weights: { bits: 3, granularity: { group: 32 }, symmetric: false } },
  },
  'activations of 4 bits in bf16, without norms': {
    compute: 'bf16',
    quantization: { activations: { bits: 4, normOutputs: false, zeroPoint: 'reference' } },
  },
  'static ranges, symmetric, after GPTQ': {
    quantization: {
      start: { integers: 'gptq' },
      gptq: { sequences: 4 },
      activations: { bits: 8, kvBits: 4, range: 'static', symmetric: true, sequences: 3 },
    },
  },
  'zero points in some layers, one a tensor': {
    quantization: {
      weights: { bits: 4, granularity: 'per-tensor' },
      layers: [{ match: '*.mlp.*', symmetric: false }],
      lowRank: { rank: 0 },
    },
  },
};
const few = { batchSize: 2, microBatchSize: 2, steps: 2, warmupRatio: 0 };
for (const [name, changes] of Object.entries(cases)) {
  test(name, async () => {
    const { training, data, ...rest } = changes;
    const run = await newRun(
      folder,
      shortExperiment({
        training: training ?? few,
        evaluation: { everySteps: 0, maxBatches: 1, kinds: ['validation'] },
        ...(data === undefined ? {} : { data }),
        ...rest,
      }),
    );
    // A merge that changes a single bit of the loss fails the run.
    assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
    const { float, trained, merged } = (await resultOf(run)).perplexity;
    assert.ok(trained! > 1 && trained !== float);
    assert.equal(merged, trained);
  });
}
