// The count of operations behind `estimate` and `bench`, against numbers worked out by hand and against the list of products
// that the benchmark's ceiling is measured with.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinearQuantization } from '../../native/binding/addon';
import { trainingStepCost } from '../../src/experiment/cost';
import { layoutOf } from '../../src/experiment/planner';
import { linearNames, type ModelShape } from '../../src/formats/model-shape';
import { gemmFlops, gemmShapes } from './gemm-shapes';
import { llama } from '../experiment/shapes';

const shape: ModelShape = {
  ...llama,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  vocabSize: 10,
  maxPositions: 16,
  tiedEmbeddings: true,
};
const quantization: LinearQuantization = {
  bits: 4,
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
const sequences = 2;
const length = 3;
const layout = layoutOf({
  shape,
  linears: Object.fromEntries(linearNames(shape).map((name) => [name, quantization])),
  compute: 'float32',
  threads: 1,
  training: true,
  microBatchSize: sequences,
  sequenceLength: length,
  activationCheckpointing: 'none',
});

test('operations of a step, by hand', () => {
  const tokens = sequences * length;
  const { flops } = trainingStepCost(layout, sequences);
  // q 8×8, k 4×8, v 4×8, o 8×8, gate 12×8, up 12×8, down 8×12: 480 weights and 116 rows + columns a block.
  // The first block's q, k and v (128 weights) have no input gradient.
  assert.equal(flops.linears, 2 * (2 * tokens * 2 * 480) - 2 * tokens * 128);
  assert.equal(flops.lowRankGradients, tokens * 4 * 2 * (2 * 116));
  assert.equal(flops.rebuild, 2 * (2 * (2 * 480) * 2));
  // Three queries see 1, 2 and 3 keys: 2 on average, in 2 blocks of 2 heads of 4; two products forward and five backward.
  assert.equal(flops.attention, tokens * 7 * 2 * 2 * 8 * 2);
  assert.equal(flops.head, tokens * 4 * 10 * 8);
});

test("the ceiling's products are the linears and the head of the step", () => {
  const { flops } = trainingStepCost(layout, sequences);
  const products = gemmShapes(layout).reduce((sum, product) => sum + gemmFlops(product), 0);
  assert.equal(products, flops.linears + flops.head);
});

test('two micro-batches cost twice one', () => {
  const one = trainingStepCost(layout, sequences);
  const two = trainingStepCost(layout, 2 * sequences);
  assert.equal(two.tokens, 2 * one.tokens);
  assert.equal(two.flops.linears, 2 * one.flops.linears);
  assert.equal(two.flops.rebuild, 2 * one.flops.rebuild);
});
