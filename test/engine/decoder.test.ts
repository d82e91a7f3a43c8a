// What the families' decoders compute, feature by feature, against one that is written out plainly in float64: the goldens of
// Hugging Face know neither linear RoPE scaling nor biases of the MLP nor norms of queries and keys.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelShape } from '../../src/formats/model-shape';
import { goldenConfig, openAddon, TemporaryFolder, writeCheckpoint } from '../goldens/engine-runs';
import { ReferenceDecoder } from './decoder-reference';
import { randomBatch, randomCheckpoint, SMALL_SHAPE } from './random-model';

const LENGTH = 24;

const cases: Readonly<Record<string, Partial<ModelShape>>> = {
  'linear RoPE scaling, MLP biases': { ropeScaling: { type: 'linear', factor: 4 }, mlpBias: true },
  'llama3 RoPE scaling, tied embeddings, several queries a key': {
    ropeScaling: {
      type: 'llama3',
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositions: 32,
    },
    tiedEmbeddings: true,
    kvHeads: 1,
  },
  'Mistral: a window': { architecture: 'mistral', slidingWindow: 7 },
  'Qwen2: biases of queries, keys and values': { architecture: 'qwen2', qkvBias: true, tiedEmbeddings: true },
  'Qwen3: norms of queries and keys, heads wider than hidden / heads': {
    architecture: 'qwen3',
    qkNorm: true,
    headDim: 20,
  },
};

for (const [name, change] of Object.entries(cases)) {
  for (const activationCheckpointing of ['none', 'block'] as const) {
    test(`${name}, checkpointing ${activationCheckpointing}: logits, loss, gradients`, async () => {
      using folder = new TemporaryFolder();
      const shape: ModelShape = { ...SMALL_SHAPE, ...change };
      const tensors = randomCheckpoint(shape, 11);
      const reference = new ReferenceDecoder(shape, tensors);
      const batch = randomBatch(shape, 1, LENGTH, 5);
      const addon = openAddon();
      const engine = new addon.Engine(
        goldenConfig(shape, writeCheckpoint(folder.path, tensors), { sequences: 1, length: LENGTH }, null, {
          activationCheckpointing,
        }),
      );
      await engine.load();
      // Float32 against float64, sums of at most 88 terms; as for the goldens of the same size.
      const logits = await engine.logits(batch, 'float');
      for (const [i, value] of reference.logits(batch.tokens).flat().entries()) {
        assert.ok(Math.abs((logits[i] ?? NaN) - value) < 2e-4, `logit ${String(i)}`);
      }
      const loss = reference.loss(batch.tokens);
      const { lossSum, tokens } = await engine.evaluate(batch, 'float');
      assert.ok(Math.abs(lossSum / tokens - loss) < 5e-6 * loss);
      const gradients = await engine.parameterGradients(batch);
      // Norms of queries and keys are never trained: what lies before them shows that their backward is right.
      const expected = tensors.map((tensor) => tensor.name).filter((each) => !/[qk]_norm/.test(each));
      assert.deepEqual(Object.keys(gradients).sort(), expected.sort());
      for (const [parameter, gradient] of Object.entries(gradients)) {
        const at = gradient.reduce((most, value, i) => (Math.abs(value) > Math.abs(gradient[most] ?? 0) ? i : most), 0);
        const slope = slopeOf(reference, parameter, at, batch.tokens);
        const found = gradient[at] ?? NaN;
        assert.ok(Math.abs(found - slope) < 5e-5 * Math.abs(slope), `${parameter}: ${String(found)}, ${String(slope)}`);
      }
      await engine.close();
    });
  }
}

/** dL/dw of one number by central differences; h = 1e-5 leaves errors of 1e-10. */
function slopeOf(reference: ReferenceDecoder, parameter: string, at: number, tokens: ArrayLike<number>): number {
  const numbers = reference.numbers(parameter);
  const value = numbers[at] ?? 0;
  const h = 1e-5;
  numbers[at] = value + h;
  const above = reference.loss(tokens);
  numbers[at] = value - h;
  const below = reference.loss(tokens);
  numbers[at] = value;
  return (above - below) / (2 * h);
}
