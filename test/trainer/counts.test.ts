// The small pure parts: pace, best, sizes, departures from stored choices.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  linearNames,
  linearSize,
  LINEAR_NAMES,
  type ModelShape,
  type TensorSource,
} from '../../src/formats/model-shape';
import type { LinearQuantization } from '../../native/binding/addon';
import { departures, requireSameData, requireSameModel, type Choices, type Machine } from '../../src/trainer/choices';
import { Pace } from '../../src/trainer/pace';
import { better, perplexityOf } from '../../src/trainer/progress';
import { modelSizes } from '../../src/trainer/sizes';
import { llama, llama7B } from '../experiment/shapes';

test('pace: what is left, and when the running step will end', () => {
  let now = 0;
  const pace = new Pace(() => now);
  assert.equal(pace.secondsLeft(10, 1), null);
  pace.stepBegins();
  assert.equal(pace.secondsToStepEnd(), 0, 'nothing is known of the first step');
  now = 10;
  assert.equal(pace.stepEnds(), 10);
  pace.evaluated(30);
  assert.equal(pace.secondsLeft(4, 2), 100);
  assert.equal(pace.secondsToStepEnd(), 0, 'no step is running');
  pace.stepBegins();
  now = 13;
  assert.equal(pace.secondsToStepEnd(), 7);
  now = 40;
  assert.equal(pace.secondsToStepEnd(), 0);
  pace.stepInterrupted();
  assert.equal(pace.secondsLeft(1, 0), 10, 'an interrupted step says nothing');
});

test('best: smaller is better, the earlier of equals, never one that is not finite', () => {
  assert.deepEqual(better(null, 1, 5), { step: 1, perplexity: 5 });
  assert.deepEqual(better({ step: 1, perplexity: 5 }, 2, 5), { step: 1, perplexity: 5 });
  assert.deepEqual(better({ step: 1, perplexity: 5 }, 2, 4), { step: 2, perplexity: 4 });
  assert.equal(better(null, 1, null), null);
  assert.equal(perplexityOf({ lossSum: 1e6, tokens: 1 }), null);
  assert.equal(perplexityOf({ lossSum: NaN, tokens: 1 }), null);
  assert.equal(perplexityOf({ lossSum: 0, tokens: 7 }), 1);
});

const shape: ModelShape = {
  ...llama,
  hiddenSize: 64,
  intermediateSize: 172,
  layers: 1,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocabSize: 100,
  maxPositions: 64,
  tiedEmbeddings: true,
};

const spec: LinearQuantization = {
  bits: 3,
  groupSize: -1,
  storage: 'integer',
  fractionBits: 0,
  encoding: 'reference',
  range: 'minmax',
  scaleDomain: 'linear',
  learnScales: true,
  rank: 2,
  alpha: 1,
};

test('sizes: codes and float32 scales of the quantized linears, all else as it came', () => {
  const weights = LINEAR_NAMES.map((linear) => {
    const { outputs, inputs } = linearSize(shape, linear);
    return { name: `model.layers.0.${linear}`, outputs, inputs };
  });
  const source = (name: string, ...dimensions: number[]): TensorSource => {
    const bytes = dimensions.reduce((a, b) => a * b, 2);
    return { name, file: 'model.safetensors', offset: 0, bytes, dtype: 'BF16', shape: dimensions };
  };
  const tensors = [
    source('model.embed_tokens.weight', 100, 64),
    ...weights.map(({ name, outputs, inputs }) => source(`${name}.weight`, outputs, inputs)),
  ];
  const skipped = 'model.layers.0.mlp.down_proj';
  const linears = Object.fromEntries(linearNames(shape).map((name) => [name, name === skipped ? null : spec]));
  const sizes = modelSizes({ shape, linears, floats: null, tensors });

  const quantized = weights.filter(({ name }) => name !== skipped);
  const count = quantized.reduce((sum, { outputs, inputs }) => sum + outputs * inputs, 0);
  const rows = quantized.reduce((sum, { outputs }) => sum + outputs, 0);
  assert.equal(sizes.bitsPerWeight, (count * 3 + rows * 32) / count);
  assert.equal(sizes.float.bitsPerWeight, 16);
  // 64 inputs: two words of 32 codes, 24 bytes a row.
  const floatBytes = 100 * 64 * 2 + 172 * 64 * 2;
  assert.equal(sizes.modelBytes, floatBytes + rows * (24 + 4));
  assert.equal(
    sizes.float.modelBytes,
    tensors.reduce((sum, { bytes }) => sum + bytes, 0),
  );
});

const machine: Machine = {
  cpu: { isa: 'avx2', bf16: 'none', logicalCores: 2, gemm: { library: 'oneDNN', version: '2.6.3' } },
  cuda: { library: null, info: null, problem: null, cublasLt: null, searched: [] },
  engineVersion: '0.1.0',
  processor: 'A',
  availableCores: 2,
  memoryBytes: 2 ** 33,
};

const choices: Choices = {
  schema: 2,
  device: 'cpu',
  gpu: null,
  processor: 'A',
  engineVersion: '0.1.0',
  isa: 'avx2',
  gemm: { library: 'oneDNN', version: '2.6.3' },
  compute: 'float32',
  threads: 2,
  activationCheckpointing: 'none',
  embeddings: 'device',
  optimizerState: 'device',
  memoryLimit: 2 ** 32,
  plan: {
    quantizedWeights: 0,
    parameters: 0,
    gradients: 0,
    optimizer: 0,
    embeddings: 0,
    activations: 0,
    workspace: 0,
    host: 0,
  },
  data: { train: 'one', validation: 'two' },
};

test('departures: what a resumed run cannot have as it was', () => {
  assert.deepEqual(departures(choices, machine), []);
  const without = { ...machine, cpu: { ...machine.cpu, isa: 'avx512', gemm: null } };
  assert.deepEqual(departures(choices, without), [
    'instruction set: avx2 → avx512',
    'matrix products: oneDNN 2.6.3 → the built-in matrix products',
  ]);
  // Tiles add in another order than pair products; runs of earlier versions did not store which they had.
  const tiles = { ...machine, cpu: { ...machine.cpu, bf16: 'amx' as const } };
  assert.deepEqual(departures({ ...choices, compute: 'bf16', bf16: 'avx512' }, tiles), [
    'bf16 instructions: avx512 → amx',
  ]);
  assert.deepEqual(departures({ ...choices, compute: 'bf16' }, tiles), []);
  assert.deepEqual(departures({ ...choices, bf16: 'avx512' }, tiles), []);
  // A run that began with the built-in products keeps them, whatever has been installed since.
  assert.deepEqual(departures({ ...choices, gemm: null }, machine), []);
});

test('other text than at the start is refused by name', () => {
  requireSameData(choices, { train: 'one', validation: 'two' });
  assert.throws(() => requireSameData(choices, { train: 'one', validation: 'three' }), {
    code: 'DataChanged',
    message: /^data: validation/,
  });
});

test('another configuration of the model than at the start is refused by its key', () => {
  const shape = llama7B;
  const stored = { ...choices, model: shape };
  requireSameModel(choices, { folder: 'model', shape });
  requireSameModel(stored, { folder: 'model', shape: { ...shape, maxPositions: 2 * shape.maxPositions } });
  assert.throws(() => requireSameModel(stored, { folder: 'model', shape: { ...shape, rmsNormEpsilon: 0.5 } }), {
    code: 'ModelChanged',
    message: /^model.config\.json: rmsNormEpsilon is 0\.5, this run was started with 0\.00001/,
  });
  const ropeScaling = { type: 'linear', factor: 2 } as const;
  assert.throws(() => requireSameModel(stored, { folder: 'model', shape: { ...shape, ropeScaling } }), /ropeScaling/);
});
