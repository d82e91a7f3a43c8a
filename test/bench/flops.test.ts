import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelShape } from '../../src/formats/model-shape';
import { flopsPerToken, gemmShapes } from './flops';

const model: ModelShape = {
  architecture: 'llama',
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  vocabSize: 10,
  maxPositions: 16,
  rmsNormEpsilon: 1e-5,
  ropeTheta: 10000,
  ropeScaling: { type: 'none' },
  slidingWindow: null,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedEmbeddings: true,
};
const step = { model, sequenceLength: 3, microBatchSize: 2, rank: 2 };

test('operations of a step, by hand', () => {
  // q 8×8, k 4×8, v 4×8, o 8×8, gate 12×8, up 12×8, down 8×12: 480 weights and 116 rows + columns a block.
  const flops = flopsPerToken(step);
  assert.equal(flops.linearForward, 2 * 2 * 480);
  assert.equal(flops.lowRankGradients, 4 * 2 * 2 * 116);
  assert.equal(flops.rebuild, (2 * (2 * 2 * 480) * 2) / 6);
  // Three queries see 1, 2 and 3 keys: 2 on average, in 2 blocks of 2 heads of 4.
  assert.equal(flops.attention, 7 * 2 * 2 * 8 * 2);
  assert.equal(flops.head, 4 * 10 * 8);
  assert.equal(
    flops.total,
    flops.linearForward + flops.linearBackward + flops.lowRankGradients + flops.rebuild + flops.attention + flops.head,
  );
});

test('the library products are the linear and head parts of the count', () => {
  const tokens = step.microBatchSize * step.sequenceLength;
  const products = gemmShapes(step).reduce((sum, s) => sum + 2 * s.rows * s.columns * s.inner * s.count, 0);
  const { linearForward, linearBackward, head } = flopsPerToken(step);
  assert.equal(products / tokens, linearForward + linearBackward + head);
});
