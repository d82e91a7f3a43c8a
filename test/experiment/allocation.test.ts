// The planner against the engine: for many shapes and settings the engine is created with the plan (it refuses any other) and
// reports what it allocated. Nothing is loaded, so the checkpoint is a file of zeros.

import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test, { after } from 'node:test';

import type {
  ActivationQuantization,
  EngineFailure,
  LinearQuantization,
  LrqatAddon,
  StaticRanges,
} from '../../native/binding/addon';
import { planMemory, type PlanInput } from '../../src/experiment';
import { modelParameters } from '../../src/formats/model-parameters';
import { linearNames, type ModelShape, type TensorSource } from '../../src/formats/model-shape';
import { randomNumbers } from './make';
import { tiny } from './shapes';

const addon = createRequire(resolve('package.json'))('./build/Release/lrqat.node') as LrqatAddon;
const folder = mkdtempSync(join(tmpdir(), 'lrqat-plan-'));
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;

/** A checkpoint of zeros in which every tensor has its place. */
function zeros(shape: ModelShape): TensorSource[] {
  const file = join(folder, `model-${String(files++)}.bin`);
  let offset = 0;
  const tensors = modelParameters(shape).map(({ name, shape: size }): TensorSource => {
    const bytes = size.reduce((a, b) => a * b, 1) * 2;
    const tensor = { name, file, offset, bytes, dtype: 'BF16' as const, shape: size };
    offset += bytes;
    return tensor;
  });
  const handle = openSync(file, 'w');
  ftruncateSync(handle, offset);
  closeSync(handle);
  return tensors;
}

async function assertAllocated(input: PlanInput): Promise<void> {
  const plan = planMemory(input);
  const engine = new addon.Engine({
    model: input.shape,
    tensors: zeros(input.shape),
    linears: input.linears,
    activations: input.activations ?? null,
    distillation: input.distillation ?? null,
    trainedFloats: input.trainedFloats ?? null,
    embeddings: input.embeddings ?? 'device',
    compute: input.compute,
    threads: input.threads,
    oneDnn: null,
    training: input.training,
    microBatchSize: input.microBatchSize,
    sequenceLength: input.sequenceLength,
    activationCheckpointing: input.activationCheckpointing,
    keptBlocks: input.keptBlocks ?? 1,
    rebuiltWeights: input.rebuiltWeights ?? 'rebuild',
    lanes: input.lanes ?? 1,
    optimizerState: input.optimizerState ?? 'device',
    seed: 1,
    plan: plan.parts,
  });
  try {
    assert.deepEqual({ ...engine.memory() }, plan.parts);
    assert.equal(
      Object.values(plan.parts).reduce((a: number, b: number) => a + b, 0),
      plan.total + plan.parts.host,
    );
  } finally {
    await engine.close();
  }
}

const common: LinearQuantization = {
  bits: 4,
  groupSize: -1,
  storage: 'fixed-point',
  fractionBits: 4,
  encoding: 'reference',
  range: 'lp-4',
  scaleDomain: 'linear',
  learnScales: true,
  rank: 8,
  alpha: 1,
};

function all(shape: ModelShape, spec: LinearQuantization | null): Record<string, LinearQuantization | null> {
  return Object.fromEntries(linearNames(shape).map((name) => [name, spec]));
}

const SITES = [
  'attentionInput',
  'keys',
  'values',
  'rotatedQueries',
  'rotatedKeys',
  'attentionOutput',
  'mlpInput',
  'mlpProduct',
] as const;

const base: PlanInput = {
  shape: tiny,
  linears: all(tiny, common),
  compute: 'float32',
  threads: 2,
  training: true,
  microBatchSize: 3,
  sequenceLength: 40,
  activationCheckpointing: 'none',
};

const cases: Readonly<Record<string, Partial<PlanInput>>> = {
  'the plain case': {},
  'norms, head and embeddings are trained': {
    shape: { ...tiny, qkNorm: true, tiedEmbeddings: false },
    compute: 'bf16',
    trainedFloats: { norms: true, head: true, embeddings: true },
  },
  'a trained table is not left on the host': {
    trainedFloats: { norms: false, head: false, embeddings: true },
    embeddings: 'host',
    optimizerState: 'host',
  },
  'a tied table is trained, and values alone are there to evaluate': {
    shape: { ...tiny, tiedEmbeddings: true },
    training: false,
    trainedFloats: { norms: true, head: false, embeddings: true },
  },
  'block checkpointing': { activationCheckpointing: 'block' },
  bf16: { compute: 'bf16' },
  'block checkpointing of all but two blocks': {
    shape: { ...tiny, layers: 5 },
    linears: all({ ...tiny, layers: 5 }, common),
    activationCheckpointing: 'block',
    keptBlocks: 2,
  },
  'bf16 with block checkpointing': { compute: 'bf16', activationCheckpointing: 'block' },
  'kept weights': { rebuiltWeights: 'keep' },
  'kept weights in bf16, evaluation only': { rebuiltWeights: 'keep', compute: 'bf16', training: false },
  'three lanes on two threads': { rebuiltWeights: 'keep', lanes: 3 },
  'lanes in bf16 with block checkpointing': {
    rebuiltWeights: 'keep',
    lanes: 2,
    microBatchSize: 4,
    threads: 4,
    compute: 'bf16',
    activationCheckpointing: 'block',
    distillation: { weight: 0.5, topK: 5, temperature: 1 },
  },
  'lanes, evaluation only': { rebuiltWeights: 'keep', lanes: 3, training: false },
  'evaluation only': { training: false },
  'nothing quantized': { linears: all(tiny, null) },
  distillation: { distillation: { weight: 0.5, topK: 5, temperature: 1 } },
  'distillation in bf16, evaluation only': {
    distillation: { weight: 0.5, topK: 64, temperature: 1 },
    compute: 'bf16',
    training: false,
  },
  'one thread': { threads: 1 },
  'one token': { microBatchSize: 1, sequenceLength: 1 },
  'frozen scales': { linears: all(tiny, { ...common, learnScales: false }) },
  'frozen scales of groups': { linears: all(tiny, { ...common, groupSize: 4, learnScales: false }) },
  'frozen scales, evaluation only': { training: false, linears: all(tiny, { ...common, learnScales: false }) },
  'moments and first scales on the host': { optimizerState: 'host', linears: all(tiny, { ...common, groupSize: 4 }) },
  'trained weights': { linears: all(tiny, { ...common, rank: 0, storage: 'trained', fractionBits: 0 }) },
  'trained weights, zero points of groups': {
    linears: all(tiny, {
      ...common,
      rank: 0,
      storage: 'trained',
      fractionBits: 0,
      groupSize: 4,
      symmetric: false,
      learnZeroPoints: true,
    }),
    compute: 'bf16',
    activationCheckpointing: 'block',
  },
  'trained weights, evaluation only': {
    training: false,
    linears: all(tiny, { ...common, rank: 0, storage: 'trained', fractionBits: 0 }),
  },
  'scales alone': { linears: all(tiny, { ...common, rank: 0 }) },
  'per tensor, integer': { linears: all(tiny, { ...common, groupSize: 0, storage: 'integer', fractionBits: 0 }) },
  'groups of 4': { linears: all(tiny, { ...common, groupSize: 4 }) },
  '3-bit codes over rows of 172': { linears: all(tiny, { ...common, bits: 3, storage: 'integer', fractionBits: 0 }) },
  'zero points': { linears: all(tiny, { ...common, symmetric: false, learnZeroPoints: true }) },
  'zero points of groups, frozen': {
    linears: all(tiny, { ...common, groupSize: 4, symmetric: false, learnZeroPoints: false }),
  },
  'zero points, evaluation only': {
    training: false,
    linears: all(tiny, { ...common, groupSize: 0, symmetric: false, learnZeroPoints: true }),
  },
  'float storages': {
    linears: { ...all(tiny, { ...common, storage: 'fp32' }), ...halves(tiny) },
  },
  'a wide vocabulary in bf16': { compute: 'bf16', shape: { ...tiny, vocabSize: 40000, tiedEmbeddings: false } },
  'biases and norms of heads': {
    shape: { ...tiny, qkvBias: true, outputBias: true, mlpBias: true, qkNorm: true, architecture: 'qwen3' },
  },
  'activations of all sites': { activations: { bits: everySite(8), zeroPoint: 'integer' } },
  'activations with block checkpointing in bf16': {
    activations: { bits: everySite(4), zeroPoint: 'reference' },
    compute: 'bf16',
    activationCheckpointing: 'block',
  },
  'static ranges, kept in bf16': {
    activations: { bits: everySite(8), zeroPoint: 'integer', staticRanges: staticRanges(false, false) },
    compute: 'bf16',
  },
  'static ranges, learned': {
    activations: { bits: { mlpProduct: 8, keys: 4 }, zeroPoint: 'integer', staticRanges: staticRanges(false, true) },
  },
  'static ranges, symmetric and learned, evaluation only': {
    training: false,
    activations: { bits: everySite(8), zeroPoint: 'integer', staticRanges: staticRanges(true, true) },
  },
  'activations, evaluation only': { training: false, activations: { bits: everySite(8), zeroPoint: 'integer' } },
  'heads wider than the hidden state': { shape: { ...tiny, headDim: 34 } },
};

function staticRanges(symmetric: boolean, learn: boolean): StaticRanges {
  return { symmetric, learn, gradientScaling: true };
}

function everySite(bits: number): ActivationQuantization['bits'] {
  return Object.fromEntries(SITES.map((site) => [site, bits]));
}

function halves(shape: ModelShape): Record<string, LinearQuantization> {
  return Object.fromEntries(
    linearNames(shape)
      .filter((name) => name.includes('.0.'))
      .map((name) => [name, { ...common, storage: name.includes('mlp') ? 'bf16' : 'fp16' }]),
  );
}

for (const [name, changes] of Object.entries(cases)) {
  test(`plan equals allocation: ${name}`, () => assertAllocated({ ...base, ...changes }));
}

test('property: plan equals allocation for random shapes and settings', async () => {
  const random = randomNumbers(20);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(...list: readonly T[]): T => list[below(list.length)]!;
  for (let round = 0; round < 150; round++) {
    const kvHeads = pick(1, 2, 3);
    const shape: ModelShape = {
      ...tiny,
      hiddenSize: 4 * (1 + below(40)),
      intermediateSize: 4 * (1 + below(80)),
      layers: 1 + below(3),
      kvHeads,
      heads: kvHeads * pick(1, 2, 4),
      headDim: 2 * (1 + below(20)),
      vocabSize: 1 + below(3000),
      qkvBias: pick(true, false),
      outputBias: pick(true, false),
      mlpBias: pick(true, false),
      qkNorm: pick(true, false),
      tiedEmbeddings: pick(true, false),
      slidingWindow: pick(null, 8),
    };
    const linears = Object.fromEntries(
      linearNames(shape).map((name): [string, LinearQuantization | null] => {
        const bits = 2 + below(7);
        const spec: LinearQuantization = {
          ...common,
          bits,
          fractionBits: below(9 - bits),
          storage: pick('fp32', 'bf16', 'fp16', 'fixed-point', 'integer'),
          groupSize: pick(-1, 0, 2),
          learnScales: pick(true, false),
          rank: below(10),
          ...(random() < 0.5 ? {} : { symmetric: false, learnZeroPoints: pick(true, false) }),
        };
        return [name, random() < 0.1 ? null : spec];
      }),
    );
    const input: PlanInput = {
      shape,
      linears,
      compute: pick('float32', 'bf16'),
      threads: 1 + below(3),
      training: random() < 0.8,
      microBatchSize: 1 + below(4),
      sequenceLength: 1 + below(90),
      activationCheckpointing: pick('none', 'block'),
      keptBlocks: 1 + below(shape.layers),
      activations: pick(null, {
        bits: Object.fromEntries(SITES.map((site) => [site, pick(null, 4, 8)])),
        zeroPoint: 'integer',
        staticRanges: pick(null, staticRanges(pick(true, false), pick(true, false))),
      }),
      rebuiltWeights: pick('rebuild', 'keep'),
    };
    // Groups of 2 need even input widths.
    if ((shape.heads * shape.headDim) % 2 !== 0) continue;
    await assertAllocated(input).catch((error: unknown) => {
      throw new Error(`round ${String(round)}: ${JSON.stringify(input)}`, { cause: error });
    });
  }
});

test('the engine refuses a plan that is off by 256 bytes', () => {
  const { parts } = planMemory(base);
  assert.throws(
    () =>
      new addon.Engine({
        model: base.shape,
        tensors: zeros(base.shape),
        linears: base.linears,
        compute: base.compute,
        threads: base.threads,
        oneDnn: null,
        training: true,
        microBatchSize: base.microBatchSize,
        sequenceLength: base.sequenceLength,
        activationCheckpointing: 'none',
        seed: 1,
        plan: { ...parts, workspace: parts.workspace + 256 },
      }),
    (error: EngineFailure) => error.code === 'PlanMismatch',
  );
});
