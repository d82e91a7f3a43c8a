// What must hold for any model, storage and schedule of micro-batches; the numbers themselves are the goldens' business.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type {
  Engine,
  EngineConfig,
  EngineFailure,
  LinearQuantization,
  OptimizerSettings,
  Storage,
  WeightForm,
} from '../../native/binding/addon';
import { linearNames, type ModelShape } from '../../src/formats/model-shape';
import { testDevice } from './device';
import { difference, goldenConfig, openAddon, TemporaryFolder, writeCheckpoint } from '../goldens/engine-runs';
import { QUANTIZATION, randomBatch, randomCheckpoint, SMALL_SHAPE } from './random-model';

const LENGTH = 16;
const OPTIMIZER: OptimizerSettings = {
  learningRate: { lowRank: 1e-2, scales: 1e-4 },
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  gradientClip: 1,
};

interface Setup {
  shape?: Partial<ModelShape>;
  quantization?: Partial<LinearQuantization> | null;
  config?: Partial<EngineConfig>;
}

/** Opens an engine on a random model, loaded, and closes it afterwards. */
async function withEngine<T>(setup: Setup, use: (engine: Engine, shape: ModelShape) => Promise<T>): Promise<T> {
  using folder = new TemporaryFolder();
  const shape = { ...SMALL_SHAPE, ...setup.shape };
  const tensors = writeCheckpoint(folder.path, randomCheckpoint(shape, 7));
  const quantization = setup.quantization === null ? null : { ...QUANTIZATION, ...setup.quantization };
  const addon = openAddon();
  const engine = new addon.Engine(
    goldenConfig(shape, tensors, { sequences: 2, length: LENGTH }, quantization, setup.config),
  );
  await engine.load();
  const result = await use(engine, shape);
  await engine.close();
  return result;
}

async function allState(engine: Engine, state: 'value' | 'gradient'): Promise<Float32Array[]> {
  return Promise.all(engine.parameters().map(({ linear, kind }) => engine.readState(linear, kind, state)));
}

/** Trains three steps on four sequences and returns losses, norms and every trained number. */
async function threeSteps(engine: Engine, shape: ModelShape) {
  const results = [];
  for (const seed of [1, 2, 3]) {
    const { loss, gradientNorm } = await engine.trainStep(randomBatch(shape, 4, LENGTH, seed), OPTIMIZER);
    results.push({ loss, gradientNorm });
  }
  return { results, values: await allState(engine, 'value') };
}

const STORAGES: readonly Storage[] = ['fp32', 'bf16', 'fp16', 'fixed-point', 'integer'];
const GROUP_SIZES = [0, -1, 8];

for (const storage of STORAGES) {
  for (const groupSize of GROUP_SIZES) {
    const quantization: Partial<LinearQuantization> = { storage, groupSize, bits: 3, fractionBits: 5 };
    const name = `${storage}, group size ${String(groupSize)}`;
    test(`training lowers the loss and merging changes nothing: ${name}`, async () => {
      await withEngine({ quantization }, async (engine, shape) => {
        const batch = randomBatch(shape, 2, LENGTH, 11);
        const before = await engine.evaluate(batch, 'trained');
        for (let step = 0; step < 60; step++) await engine.trainStep(batch, OPTIMIZER);
        const after = await engine.evaluate(batch, 'trained');
        assert.ok(after.lossSum < before.lossSum * 0.98, `${String(before.lossSum)} → ${String(after.lossSum)}`);
        assert.equal(after.lossSum, await mergedLoss(engine, shape, batch));
      });
    });

    test(`neither checkpointing nor repetition changes a bit: ${name}`, async () => {
      const run = (config: Partial<EngineConfig>) => withEngine({ quantization, config }, threeSteps);
      const plain = await run({ activationCheckpointing: 'none' });
      // On a GPU the sums of scale gradients have another order where the norm before them is a step of its own.
      if (testDevice().device === undefined) {
        assert.deepEqual(await run({ activationCheckpointing: 'block' }), plain);
      }
      assert.deepEqual(await run({ activationCheckpointing: 'none' }), plain);
    });
  }
}

test('how many of the last blocks are kept changes no bit, whatever else is kept', async () => {
  const layers = 4;
  const run = (config: Partial<EngineConfig>) => withEngine({ shape: { layers }, config }, threeSteps);
  // On a GPU the sums of scale gradients have another order where the norm before them is a step of its own: there, too, the losses
  // and the trained numbers of one plan are its own.
  const elementwise = testDevice().device === undefined ? (['keep', 'recompute'] as const) : [];
  const plain = await run({ activationCheckpointing: 'none' });
  for (const elementwiseOutputs of elementwise) {
    for (let keptBlocks = 1; keptBlocks <= layers; keptBlocks++) {
      const kept = await run({ activationCheckpointing: 'block', keptBlocks, elementwise: elementwiseOutputs });
      assert.deepEqual(kept, plain, `${String(keptBlocks)} kept, element-wise outputs: ${elementwiseOutputs}`);
    }
  }
});

test('kept weights change no bit, whatever is quantized and whatever else is kept', async () => {
  const grids: readonly Partial<LinearQuantization>[] = [
    { bits: 2, groupSize: -1 },
    { bits: 3, groupSize: 8 },
    { bits: 2, groupSize: 0, symmetric: false, learnZeroPoints: true },
    { bits: 4, rank: 0 },
  ];
  // A GPU has no memory of its own for them.
  if (testDevice().device !== undefined) return;
  for (const quantization of grids) {
    for (const compute of ['float32', 'bf16'] as const) {
      const run = (config: Partial<EngineConfig>) =>
        withEngine({ quantization, config: { compute, ...config } }, async (engine, shape) => {
          const steps = await threeSteps(engine, shape);
          const batch = randomBatch(shape, 3, LENGTH, 5);
          // Each form after another one: none may find the weights of the one before.
          const losses = [];
          for (const form of ['trained', 'round-to-nearest', 'float', 'trained'] as const) {
            losses.push((await engine.evaluate(batch, form)).lossSum);
          }
          return { steps, losses, after: await threeSteps(engine, shape) };
        });
      const plain = await run({ rebuiltWeights: 'rebuild' });
      assert.notEqual(plain.losses[0], plain.losses[1]);
      assert.notEqual(plain.losses[1], plain.losses[2]);
      const name = `${JSON.stringify(quantization)}, ${compute}`;
      assert.deepEqual(await run({ rebuiltWeights: 'keep' }), plain, name);
      assert.deepEqual(await run({ rebuiltWeights: 'keep', activationCheckpointing: 'block' }), plain, name);
    }
  }
});

test('a number of kept blocks that the model does not have is refused by name', () => {
  using folder = new TemporaryFolder();
  const tensors = writeCheckpoint(folder.path, randomCheckpoint(SMALL_SHAPE, 7));
  const config = { activationCheckpointing: 'block', keptBlocks: SMALL_SHAPE.layers + 1 } as const;
  const addon = openAddon();
  assert.throws(
    () =>
      new addon.Engine(
        goldenConfig(SMALL_SHAPE, tensors, { sequences: 1, length: LENGTH }, { ...QUANTIZATION }, config),
      ),
    (error: EngineFailure) => error.code === 'InvalidArgument' && error.message.includes('keptBlocks'),
  );
});

/** Loss of the merged integers as a file holds them. */
async function mergedLoss(engine: Engine, shape: ModelShape, batch: ReturnType<typeof randomBatch>): Promise<number> {
  using folder = new TemporaryFolder();
  const chunks: Uint8Array[] = [];
  let offset = 0;
  const place = (bytes: Uint8Array) => {
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    chunks.push(padded);
    offset += padded.length;
    return offset - padded.length;
  };
  const file = `${folder.path}/merged.bin`;
  const sources: Record<string, { file: string; codesOffset: number; scalesOffset: number }> = {};
  for (const linear of linearNames(shape)) {
    const codes = await engine.merge(linear);
    const scales = await engine.scales(linear);
    sources[linear] = { file, codesOffset: place(codes), scalesOffset: place(new Uint8Array(scales.buffer)) };
  }
  writeFileSync(file, Buffer.concat(chunks));
  await engine.attachMerged(sources);
  return (await engine.evaluate(batch, 'merged')).lossSum;
}

test('a step does not depend on how it is cut into micro-batches', async () => {
  const gradients = (microBatchSize: number) =>
    withEngine({ config: { microBatchSize } }, async (engine, shape) => {
      await engine.trainStep(randomBatch(shape, 4, LENGTH, 5), OPTIMIZER);
      return allState(engine, 'gradient');
    });
  const whole = await gradients(4);
  for (const microBatchSize of [1, 2]) {
    for (const [i, gradient] of (await gradients(microBatchSize)).entries()) {
      // Only the order of float32 sums differs.
      assert.ok(difference(gradient, whole[i] ?? []).relative < 5e-6);
    }
  }
});

test('packed documents see only themselves', async () => {
  await withEngine({}, async (engine, shape) => {
    const split = 6;
    const packed = randomBatch(shape, 1, LENGTH, 3);
    packed.targets[split - 1] = -1;
    const firstKey = Int32Array.from(packed.tokens, (_, i) => (i < split ? 0 : split));
    const together = await engine.evaluate({ ...packed, firstKey }, 'trained');
    let apart = 0;
    for (const [from, to] of [
      [0, split],
      [split, LENGTH],
    ]) {
      const part = { tokens: packed.tokens.slice(from, to), targets: packed.targets.slice(from, to) };
      apart += (await engine.evaluate(part, 'trained', part.tokens.length)).lossSum;
    }
    // Positions differ (rotary embedding is relative), so the sums differ in float32 rounding only.
    assert.ok(Math.abs(together.lossSum - apart) < 1e-4 * apart);
    const mixed = await engine.evaluate(packed, 'trained');
    assert.ok(Math.abs(mixed.lossSum - apart) > 1e-3 * apart, 'without boundaries the documents do mix');
  });
});

test('biases, query and key norms, windows and tied embeddings train', async () => {
  await withEngine(
    { shape: { qkvBias: true, outputBias: true, mlpBias: true, qkNorm: true, slidingWindow: 5, tiedEmbeddings: true } },
    async (engine, shape) => {
      const batch = randomBatch(shape, 2, LENGTH, 4);
      const before = await engine.evaluate(batch, 'trained');
      for (let step = 0; step < 20; step++) await engine.trainStep(batch, OPTIMIZER);
      assert.ok((await engine.evaluate(batch, 'trained')).lossSum < before.lossSum * 0.98);
    },
  );
});

test('bf16 stays close to float32', async () => {
  const run = (compute: 'float32' | 'bf16') => withEngine({ config: { compute } }, threeSteps);
  const exact = await run('float32');
  const fast = await run('bf16');
  for (const [i, { loss, gradientNorm }] of fast.results.entries()) {
    // bf16 operands carry 8 bits: 2^-9 a product; sums of 48 to 88 of them average that down.
    assert.ok(Math.abs(loss / (exact.results[i]?.loss ?? 0) - 1) < 5e-3);
    assert.ok(Math.abs(gradientNorm / (exact.results[i]?.gradientNorm ?? 0) - 1) < 5e-2);
  }
});

test('a linear without quantization keeps its float weights and no trained numbers', async () => {
  await withEngine({ quantization: null }, async (engine, shape) => {
    assert.deepEqual(engine.parameters(), []);
    const batch = randomBatch(shape, 2, LENGTH, 4);
    assert.equal((await engine.evaluate(batch, 'float')).lossSum, (await engine.evaluate(batch, 'trained')).lossSum);
  });
});

test('a form can be meant for some linears only, and only for that call', async () => {
  await withEngine({}, async (engine, shape) => {
    const batch = randomBatch(shape, 2, LENGTH, 4);
    const names = [...new Set(engine.parameters().map(({ linear }) => linear))];
    const loss = async (form: WeightForm, only?: readonly string[]): Promise<number> =>
      (await engine.evaluate(batch, form, undefined, only)).lossSum;
    const float = await loss('float');
    const rounded = await loss('round-to-nearest');
    assert.notEqual(float, rounded);
    assert.equal(await loss('round-to-nearest', []), float);
    assert.equal(await loss('round-to-nearest', names), rounded);
    const one = await loss('round-to-nearest', names.slice(0, 1));
    assert.ok(one !== float && one !== rounded);
    assert.equal(await loss('round-to-nearest'), rounded);
    await assert.rejects(loss('round-to-nearest', ['model.layers.9.mlp.up_proj']), { code: 'InvalidArgument' });
    assert.throws(() => void engine.evaluate(batch, 'float', undefined, [1 as unknown as string]), /a list of names/);
    assert.equal(await loss('round-to-nearest'), rounded, 'after an error as well');
  });
});

test('state written into a second engine continues bit for bit', async () => {
  const batches = (shape: ModelShape) => [1, 2, 3, 4].map((seed) => randomBatch(shape, 4, LENGTH, seed));
  const straight = await withEngine({}, async (engine, shape) => {
    for (const batch of batches(shape)) await engine.trainStep(batch, OPTIMIZER);
    return allState(engine, 'value');
  });
  const saved = await withEngine({}, async (engine, shape) => {
    for (const batch of batches(shape).slice(0, 2)) await engine.trainStep(batch, OPTIMIZER);
    const tensors = [];
    for (const { linear, kind } of engine.parameters()) {
      for (const state of ['value', 'moment1', 'moment2'] as const) {
        tensors.push({ linear, kind, state, values: await engine.readState(linear, kind, state) });
      }
    }
    return { tensors, step: engine.optimizerStep() };
  });
  const resumed = await withEngine({ config: { seed: 99 } }, async (engine, shape) => {
    for (const { linear, kind, state, values } of saved.tensors) await engine.writeState(linear, kind, state, values);
    engine.setOptimizerStep(saved.step);
    for (const batch of batches(shape).slice(2)) await engine.trainStep(batch, OPTIMIZER);
    return allState(engine, 'value');
  });
  assert.deepEqual(resumed, straight);
});

test('cancel rejects the running step and changes nothing', async () => {
  await withEngine({}, async (engine, shape) => {
    const before = await allState(engine, 'value');
    const step = engine.trainStep(randomBatch(shape, 400, LENGTH, 1), OPTIMIZER);
    engine.cancel();
    await assert.rejects(step, (error: EngineFailure) => error.code === 'Cancelled');
    assert.deepEqual(await allState(engine, 'value'), before);
    assert.equal(engine.optimizerStep(), 0);
    const next = await engine.trainStep(randomBatch(shape, 4, LENGTH, 1), OPTIMIZER);
    assert.equal(next.skipped, false);
  });
});

test('a step whose gradient is not finite is skipped and changes nothing', async () => {
  await withEngine({}, async (engine, shape) => {
    const linear = 'model.layers.0.mlp.up_proj';
    const scales = await engine.readState(linear, 'scale', 'value');
    await engine.writeState(
      linear,
      'scale',
      'value',
      scales.map(() => Infinity),
    );
    const before = await allState(engine, 'value');
    const result = await engine.trainStep(randomBatch(shape, 4, LENGTH, 1), OPTIMIZER);
    assert.equal(result.skipped, true);
    assert.deepEqual(await allState(engine, 'value'), before);
  });
});

const REFUSALS: readonly [string, (engine: Engine, shape: ModelShape) => Promise<unknown>, RegExp][] = [
  [
    'a token outside the vocabulary',
    (engine) =>
      engine.evaluate({ tokens: new Int32Array(LENGTH).fill(61), targets: new Int32Array(LENGTH) }, 'trained'),
    /token id 61 is outside the model's vocabulary of 61/,
  ],
  [
    'targets of another length',
    (engine) => engine.evaluate({ tokens: new Int32Array(LENGTH), targets: new Int32Array(3) }, 'trained'),
    /must all have sequences · length = 16 elements/,
  ],
  [
    'half a sequence',
    (engine) => engine.trainStep({ tokens: new Int32Array(9), targets: new Int32Array(9) }, OPTIMIZER),
    /a whole number of sequences of 16 tokens, not 9/,
  ],
  [
    'three sequences in micro-batches of two',
    (engine, shape) => engine.trainStep(randomBatch(shape, 3, LENGTH, 1), OPTIMIZER),
    /3 sequences are no multiple of the micro-batch of 2/,
  ],
  [
    'an unknown linear',
    (engine) => engine.readState('model.layers.9.mlp.up_proj', 'a', 'value'),
    /model\.layers\.9\.mlp\.up_proj is not a quantized linear/,
  ],
  [
    'merged integers that nobody attached',
    (engine, shape) => engine.evaluate(randomBatch(shape, 1, LENGTH, 1), 'merged'),
    /no merged integers attached/,
  ],
];

for (const [what, call, message] of REFUSALS) {
  test(`refuses ${what}`, async () => {
    await withEngine({}, async (engine, shape) => {
      await assert.rejects(async () => call(engine, shape), message);
    });
  });
}

test('refuses a weight that is not finite, naming file, tensor and place', async () => {
  using folder = new TemporaryFolder();
  const tensors = randomCheckpoint(SMALL_SHAPE, 7);
  const victim = tensors.find(({ name }) => name === 'model.layers.1.mlp.gate_proj.weight');
  assert.ok(victim);
  victim.data[48 * 3 + 5] = NaN;
  const addon = openAddon();
  const engine = new addon.Engine(
    goldenConfig(SMALL_SHAPE, writeCheckpoint(folder.path, tensors), { sequences: 2, length: LENGTH }, QUANTIZATION),
  );
  await assert.rejects(engine.load(), (error: EngineFailure) => {
    assert.equal(error.code, 'InputFile');
    assert.match(error.message, /model\.safetensors.*model\.layers\.1\.mlp\.gate_proj\.weight/);
    return true;
  });
  await engine.close();
});

test('refuses a plan that is not what it needs', () => {
  using folder = new TemporaryFolder();
  const addon = openAddon();
  const plan = {
    quantizedWeights: 1,
    parameters: 1,
    gradients: 1,
    optimizer: 1,
    embeddings: 1,
    activations: 1,
    workspace: 1,
    host: 0,
  };
  const config = goldenConfig(
    SMALL_SHAPE,
    writeCheckpoint(folder.path, randomCheckpoint(SMALL_SHAPE, 7)),
    { sequences: 2, length: LENGTH },
    QUANTIZATION,
    { plan },
  );
  assert.throws(
    () => new addon.Engine(config),
    (error: EngineFailure) => error.code === 'PlanMismatch',
  );
});
