// The planner's memory on a GPU against the engine's own layout, and its scratch memory against the backend's formulas, for many
// shapes. No GPU is needed; for the scratch memory the backend's library is.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import test from 'node:test';

import type { EngineConfig, LrqatAddon } from '../../native/binding/addon';
import type { PlanInput } from '../../src/experiment';
import { cudaScratchBytes } from '../../src/experiment/cuda-scratch';
import { memoryParts } from '../../src/experiment/memory-layout';
import { layoutOf } from '../../src/experiment/planner';
import { linearNames } from '../../src/formats/model-shape';
import { findNative } from '../../src/launch/native-files';
import { randomNumbers } from './make';
import { llama13B, llama70B, llama7B, tiny } from './shapes';

const { cuda } = findNative();
const addon = createRequire(resolve('package.json'))('./build/Release/lrqat.node') as LrqatAddon;

function input(changes: Partial<PlanInput>, spec: Partial<EngineConfig['linears'][string]> = {}): PlanInput {
  const shape = changes.shape ?? tiny;
  const quantization = {
    bits: 4,
    groupSize: -1,
    storage: 'integer',
    fractionBits: 0,
    encoding: 'reference',
    range: 'lp-4',
    scaleDomain: 'linear',
    learnScales: true,
    rank: 32,
    alpha: 1,
    ...spec,
  } as const;
  return {
    shape,
    device: 'cuda',
    linears: Object.fromEntries(linearNames(shape).map((name) => [name, quantization])),
    compute: 'bf16',
    threads: 1,
    training: true,
    microBatchSize: 1,
    sequenceLength: 1024,
    activationCheckpointing: 'none',
    ...changes,
  };
}

function configOf(library: string, plan: PlanInput): EngineConfig {
  const { shape, device: _device, ...layout } = layoutOf(plan);
  return {
    ...layout,
    model: shape,
    tensors: [],
    device: { type: 'cuda', index: 0, library, cublasLt: '' },
    oneDnn: null,
    seed: 0,
    plan: null,
  };
}

function plans(): PlanInput[] {
  const plans: PlanInput[] = [llama7B, llama13B, llama70B].flatMap((shape) =>
    [1, 4, 8].map((microBatchSize) => input({ shape, microBatchSize })),
  );
  plans.push(input({ shape: llama7B, training: false }), input({ shape: llama70B }, { groupSize: 128 }));
  const random = randomNumbers(5);
  const pick = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  for (let round = 0; round < 60; round++) {
    const kvHeads = pick(1, 4);
    const shape = {
      ...tiny,
      hiddenSize: pick(8, 700),
      intermediateSize: pick(8, 1500),
      layers: pick(1, 3),
      heads: kvHeads * pick(1, 4),
      kvHeads,
      headDim: 2 * pick(4, 64),
      vocabSize: pick(20, 40_000),
      qkNorm: random() < 0.3,
      tiedEmbeddings: random() < 0.3,
    };
    const trained = random() < 0.3;
    plans.push(
      input(
        {
          shape,
          microBatchSize: pick(1, 9),
          sequenceLength: pick(1, 3000),
          training: random() < 0.8,
          activationCheckpointing: random() < 0.5 ? 'none' : 'block',
          keptBlocks: pick(1, shape.layers),
          embeddings: random() < 0.5 ? 'device' : 'host',
          trainedFloats:
            random() < 0.5
              ? null
              : {
                  norms: random() < 0.5,
                  head: !shape.tiedEmbeddings && random() < 0.5,
                  embeddings: random() < 0.5,
                },
          activations: random() < 0.5 ? null : activations(random),
          optimizerState: random() < 0.5 ? 'device' : 'host',
          ...(random() < 0.7 ? {} : { distillation: { weight: 0.5, topK: pick(1, 20), temperature: 1 } }),
        },
        {
          ...(trained ? { storage: 'trained' as const } : {}),
          rank: trained ? 0 : pick(0, 8),
          groupSize: pick(-1, 0),
          learnScales: random() < 0.7,
          ...(random() < 0.5 ? {} : { symmetric: false, learnZeroPoints: random() < 0.5 }),
        },
      ),
    );
  }
  return plans;
}

function activations(random: () => number): NonNullable<PlanInput['activations']> {
  const chance = (): boolean => random() < 0.5;
  const bits = {
    attentionInput: chance() ? 8 : null,
    keys: chance() ? 4 : null,
    rotatedQueries: chance() ? 8 : null,
    attentionOutput: chance() ? 8 : null,
    mlpProduct: 8,
  };
  const staticRanges = chance() ? { symmetric: chance(), learn: chance(), gradientScaling: true } : null;
  return { bits, zeroPoint: 'integer', staticRanges };
}

test('memory on CUDA is planned as the engine places it', () => {
  for (const plan of plans()) {
    const layout = layoutOf(plan);
    const placed = addon.memoryParts(configOf('none', plan), cudaScratchBytes(layout));
    assert.deepEqual(memoryParts(layout), placed, JSON.stringify(plan));
  }
});

test(
  'scratch memory on CUDA is planned as the backend takes it',
  { skip: cuda === null ? 'no CUDA backend' : false },
  () => {
    if (cuda === null) return;
    for (const plan of plans())
      assert.equal(
        cudaScratchBytes(layoutOf(plan)),
        addon.cudaScratchBytes(cuda, configOf(cuda, plan)),
        JSON.stringify(plan),
      );
  },
);
