// Any initialiser × LR-QAT × any granularity × any storage: where training begins, that what is stored of it begins there again, and
// that training goes on from there to integers that merge.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  Engine,
  EngineConfig,
  LinearQuantization,
  OptimizerSettings,
  StartOptions,
} from '../../native/binding/addon';
import { linearNames, linearSize, type LinearName, type TensorSource } from '../../src/formats/model-shape';
import { nodeFileSystem } from '../../src/formats/file-system';
import { loadBase, storeBase, weightsFingerprint } from '../../src/trainer/base';
import { goldenConfig, openAddon, TemporaryFolder, writeCheckpoint } from '../goldens/engine-runs';
import { QUANTIZATION, randomBatch, randomCheckpoint, SMALL_SHAPE } from './random-model';

const LENGTH = 16;
const BITS = 3;
const NAMES = linearNames(SMALL_SHAPE);
const CALIBRATION = randomBatch(SMALL_SHAPE, 4, LENGTH, 3);
const BATCH = randomBatch(SMALL_SHAPE, 2, LENGTH, 5);
const OPTIMIZER: OptimizerSettings = {
  learningRate: { lowRank: 1e-2, scales: 1e-4 },
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  gradientClip: 1,
};

const INITIALISERS = ['round-to-nearest', 'GPTQ', 'GPTQ in the order of activations'] as const;
const GRANULARITIES = [
  ['tensor', 0],
  ['channel', -1],
  ['group of 8', 8],
] as const;
const STORAGES = ['fp32', 'bf16', 'fp16', 'fixed-point', 'integer'] as const;

interface Case {
  readonly initialiser: (typeof INITIALISERS)[number];
  readonly svd: boolean;
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly storage: (typeof STORAGES)[number];
}

function specOf({ groupSize, symmetric, storage }: Case): LinearQuantization {
  const fractionBits = storage === 'fixed-point' ? 5 : 0;
  return { ...QUANTIZATION, bits: BITS, groupSize, symmetric, storage, fractionBits, range: 'mse', rank: 6, alpha: 6 };
}

/** null: the engine begins there by itself. */
function startOf({ initialiser, svd }: Case): StartOptions | null {
  const lowRank = svd ? { iterations: 1 } : null;
  if (initialiser === 'round-to-nearest') return svd ? { gptq: null, lowRank, calibration: null } : null;
  const activationOrder = initialiser !== 'GPTQ';
  return { gptq: { damping: 0.01, activationOrder }, lowRank, calibration: CALIBRATION };
}

/** q, k and v of the first block: no other linear changes their inputs. */
const FIRST = NAMES.slice(0, 3);

type Integers = ReadonlyMap<string, readonly number[]>;

/** By linear, the places that fill packed rows included. */
async function mergedOf(engine: Engine): Promise<Integers> {
  const entries = NAMES.map(async (name) => [name, unpack(await engine.merge(name))] as const);
  return new Map(await Promise.all(entries));
}

function unpack(bytes: Uint8Array): number[] {
  const bit = (place: number): number => ((bytes[place >> 3] ?? 0) >> (place & 7)) & 1;
  const count = (bytes.length * 8) / BITS;
  return Array.from({ length: count }, (_, i) => bit(3 * i) + 2 * bit(3 * i + 1) + 4 * bit(3 * i + 2));
}

/** Of the weights of some linears. */
function shareOfDifferent(one: Integers, other: Integers, names: readonly string[] = NAMES): number {
  let different = 0;
  let weights = 0;
  for (const name of names) {
    const { outputs, inputs } = linearSize(SMALL_SHAPE, name.split('.').slice(3).join('.') as LinearName);
    const expected = other.get(name) ?? [];
    different += (one.get(name) ?? []).filter((value, i) => value !== expected[i]).length;
    weights += outputs * inputs;
  }
  return different / weights;
}

async function withEngine<T>(
  tensors: TensorSource[],
  spec: LinearQuantization,
  training: boolean,
  use: (engine: Engine, config: EngineConfig) => Promise<T>,
): Promise<T> {
  const config = goldenConfig(SMALL_SHAPE, tensors, { sequences: 2, length: LENGTH }, spec, { training });
  const engine = new (openAddon().Engine)({ ...config, device: { type: 'cpu' } });
  try {
    return await use(engine, config);
  } finally {
    await engine.close();
  }
}

/** What the initialiser alone leaves: its integers, stored as they are. */
async function integersOf(tensors: TensorSource[], row: Case): Promise<Integers> {
  const plain: Case = { ...row, storage: 'integer', svd: false };
  return withEngine(tensors, { ...specOf(plain), rank: 0 }, false, async (engine) => {
    await engine.load();
    const start = startOf(plain);
    if (start !== null) await engine.findStart(start);
    return mergedOf(engine);
  });
}

/** A start that is found is stored so that its integers stay, but that codes end at the ends of the grid, where they cannot give back
 *  what singular values took, and that integers have no fraction to take A·B back from. Without one Φ0 follows from the weight,
 *  rounded to its type: half a step of it, 1/128 and 1/1024 near 3.5 and 1/64 in codes, is the share that may change sides. */
function mostDifferent(row: Case): number {
  const { svd, storage } = row;
  if (svd) return storage === 'integer' ? 0.25 : storage === 'fixed-point' ? 0.02 : 0;
  if (startOf(row) !== null) return 0;
  return { fp32: 0, bf16: 0.0157, fp16: 0.002, 'fixed-point': 0.05, integer: 0 }[storage];
}

const storageHasFractions = ({ storage, svd }: Case): boolean => storage !== 'integer' || svd;

async function check(tensors: TensorSource[], folder: string, row: Case, integers: Integers): Promise<void> {
  const spec = specOf(row);
  const linears = Object.fromEntries(NAMES.map((name) => [name, spec]));
  const model = { folder, tensors };
  const start = startOf(row);
  const { begun, merged } = await withEngine(tensors, spec, false, async (engine) => {
    await engine.load();
    if (start !== null) await engine.findStart(start);
    await storeBase({
      engine,
      linears,
      runDirectory: folder,
      fileSystem: nodeFileSystem,
      digest: await engine.baseDigest(),
      started: start === null ? null : await weightsFingerprint(model, linears),
      withFactors: row.svd,
    });
    return { begun: await engine.evaluate(BATCH, 'trained'), merged: await mergedOf(engine) };
  });
  // Where a linear does not keep GPTQ's integers those behind it read something else, and GPTQ rounds them otherwise.
  const different = shareOfDifferent(merged, integers, mostDifferent(row) > 0 ? FIRST : NAMES);
  assert.ok(different <= mostDifferent(row), `${String(different)} of the integers are not the initialiser's`);
  if (row.svd && row.storage === 'integer') assert.ok(different > 0, 'A·B carries something');

  await withEngine(tensors, spec, true, async (engine) => {
    await loadBase({ engine, runDirectory: folder, linears, model, fileSystem: null });
    const first = await engine.trainStep(BATCH, OPTIMIZER);
    // The same numbers, summed by another pass over the micro-batch.
    const expected = begun.lossSum / begun.tokens;
    assert.ok(Math.abs(first.loss - expected) <= 1e-5 * expected, `${String(first.loss)} for ${String(expected)}`);
    let last = first;
    for (let step = 0; step < 4; step++) last = await engine.trainStep(BATCH, OPTIMIZER);
    assert.ok(!last.skipped && last.loss < first.loss, `from ${String(first.loss)} to ${String(last.loss)}`);
    // From the middle of a step, where integers lie, five steps do not move A·B by half of one.
    if (storageHasFractions(row)) {
      assert.ok(shareOfDifferent(await mergedOf(engine), merged) > 0, 'training moves integers');
    }
  });
}

for (const initialiser of INITIALISERS) {
  for (const [granularity, groupSize] of GRANULARITIES) {
    for (const symmetric of [true, false]) {
      test(`${initialiser}, ${granularity}, ${symmetric ? 'symmetric' : 'with zero points'}`, async (context) => {
        using folder = new TemporaryFolder();
        const tensors = writeCheckpoint(folder.path, randomCheckpoint(SMALL_SHAPE, 7));
        const of = { initialiser, groupSize, symmetric, svd: false, storage: 'integer' } as const;
        const integers = await integersOf(tensors, of);
        // The order of columns is no matter of the type that what is found is stored in.
        for (const storage of initialiser.endsWith('activations') ? (['fixed-point'] as const) : STORAGES) {
          for (const svd of [false, true]) {
            await context.test(`${storage}${svd ? ', A·B from singular values' : ''}`, () =>
              check(tensors, folder.path, { ...of, storage, svd }, integers),
            );
          }
        }
      });
    }
  }
}
