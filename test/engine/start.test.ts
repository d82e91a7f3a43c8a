// Another start than round-to-nearest, found by the engine: every storage begins at the same integers, what is stored of it
// makes the same engine again, and it takes the memory that the planner counts. What GPTQ computes is native/test's business.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import type { Engine, EngineConfig, LinearQuantization, StartOptions, Storage } from '../../native/binding/addon';
import { START_ENGINE } from '../../src/experiment/planner';
import { startWorkBytes } from '../../src/experiment/start';
import { linearNames, type ModelShape } from '../../src/formats/model-shape';
import { writeSafetensors } from '../../src/formats/safetensors-writer';
import { SafetensorsFile } from '../../src/formats/safetensors-file';
import { goldenConfig, openAddon, TemporaryFolder, writeCheckpoint } from '../goldens/engine-runs';
import { QUANTIZATION, randomBatch, randomCheckpoint, SMALL_SHAPE } from './random-model';

const LENGTH = 16;
const SEQUENCES = 7;
const GPTQ: StartOptions = {
  gptq: { damping: 0.01, activationOrder: false },
  lowRank: null,
  calibration: randomBatch(SMALL_SHAPE, SEQUENCES, LENGTH, 3),
};

/** Loaded, for evaluation on the CPU. */
async function withEngine<T>(
  spec: Partial<LinearQuantization>,
  use: (engine: Engine, shape: ModelShape, folder: string) => Promise<T>,
  config: Partial<EngineConfig> = {},
  load?: Parameters<Engine['load']>[0],
): Promise<T> {
  using folder = new TemporaryFolder();
  const tensors = writeCheckpoint(folder.path, randomCheckpoint(SMALL_SHAPE, 7));
  const quantization = { ...QUANTIZATION, ...spec };
  const size = { sequences: 2, length: LENGTH };
  const engine = new (openAddon().Engine)({
    ...goldenConfig(SMALL_SHAPE, tensors, size, quantization, { training: false, ...config }),
    device: { type: 'cpu' },
  });
  try {
    await engine.load(load);
    return await use(engine, SMALL_SHAPE, folder.path);
  } finally {
    await engine.close();
  }
}

const mergedOf = (engine: Engine): Promise<Uint8Array[]> =>
  Promise.all(linearNames(SMALL_SHAPE).map((name) => engine.merge(name)));

for (const groupSize of [0, -1, 8]) {
  for (const symmetric of [true, false]) {
    test(`every storage starts at the integers of GPTQ: group ${String(groupSize)}, symmetric ${String(symmetric)}`, async () => {
      const spec = { bits: 3, groupSize, symmetric, range: 'mse' } as const;
      const started = (storage: Storage, fractionBits = 0, encoding: 'reference' | 'centred' = 'reference') =>
        withEngine({ ...spec, storage, fractionBits, encoding, rank: 4 }, async (engine) => {
          const nearest = await mergedOf(engine);
          await engine.findStart(GPTQ);
          return {
            nearest,
            merged: await mergedOf(engine),
            scales: await engine.scales(linearNames(SMALL_SHAPE)[9] ?? ''),
          };
        });
      const expected = await started('integer');
      assert.notDeepEqual(expected.merged, expected.nearest, 'GPTQ rounds some weights otherwise');
      for (const storage of ['fp32', 'bf16', 'fp16'] as const) {
        const { merged, scales } = await started(storage);
        assert.deepEqual(merged, expected.merged, storage);
        assert.deepEqual(scales, expected.scales, storage);
      }
      for (const fractionBits of [0, 1, 2, 3, 5]) {
        const encoding = fractionBits === 1 || fractionBits === 2 ? 'centred' : 'reference';
        const { merged } = await started('fixed-point', fractionBits, encoding);
        assert.deepEqual(merged, expected.merged, `${String(fractionBits)} fraction bits`);
      }
    });
  }
}

test('GPTQ lowers the loss of the calibration data against round-to-nearest', async () => {
  await withEngine({ bits: 2, storage: 'integer', rank: 0, range: 'mse' }, async (engine, shape) => {
    const batch = GPTQ.calibration ?? randomBatch(shape, 1, LENGTH, 1);
    const float = await engine.logits(batch, 'float');
    const distance = async (form: 'trained' | 'round-to-nearest'): Promise<number> =>
      (await engine.logits(batch, form)).reduce((sum, value, index) => sum + (value - (float[index] ?? 0)) ** 2, 0);
    const nearest = await distance('round-to-nearest');
    await engine.findStart(GPTQ);
    const gptq = await distance('trained');
    assert.ok(gptq < 0.9 * nearest, `${String(gptq)} of ${String(nearest)}`);
    await assert.rejects(engine.evaluate(batch, 'round-to-nearest'), { code: 'InvalidArgument' });
  });
});

for (const groupSize of [0, -1, 8]) {
  test(`A·B from singular values leaves the integers where they are: group ${String(groupSize)}`, async () => {
    const start: StartOptions = { gptq: null, lowRank: { iterations: 1 }, calibration: null };
    for (const storage of ['fp32', 'bf16', 'fp16', 'fixed-point'] as const) {
      const spec = { bits: 3, groupSize, range: 'mse', storage, fractionBits: 5, rank: 6, alpha: 6 } as const;
      await withEngine(spec, async (engine, shape) => {
        const batch = randomBatch(shape, 2, LENGTH, 5);
        const nearest = await engine.evaluate(batch, 'round-to-nearest');
        await engine.findStart(start);
        const { lossSum } = await engine.evaluate(batch, 'trained');
        // Codes end at the ends of the grid: where A·B takes away more than half a step there, they cannot give it back.
        const tolerance = storage === 'fixed-point' ? 0.005 * nearest.lossSum : 0;
        assert.ok(Math.abs(lossSum - nearest.lossSum) <= tolerance, `${storage}: ${String(lossSum)}`);
        for (const linear of linearNames(shape)) {
          const a = await engine.readState(linear, 'a', 'value');
          assert.ok(a.some((value) => value !== 0) && a.every(Number.isFinite), linear);
        }
      });
    }
  });
}

test('what is stored of a start makes the same engine again', async () => {
  const spec = {
    bits: 3,
    groupSize: 8,
    symmetric: false,
    range: 'mse',
    storage: 'fixed-point',
    fractionBits: 5,
  } as const;
  await withEngine(spec, async (engine, shape, folder) => {
    await engine.findStart(GPTQ);
    const names = linearNames(shape);
    const file = path.join(folder, 'start.safetensors');
    const tensors = await Promise.all(
      names.map(async (name) => {
        const data = await engine.phi0(name);
        return { name, dtype: 'U8' as const, shape: [data.length], data };
      }),
    );
    await writeSafetensors(file, tensors);
    const opened = await SafetensorsFile.open(file);
    const phi0 = Object.fromEntries(names.map((name) => [name, { file, offset: opened.info(name).offset }]));
    await opened.close();
    const each = async (read: (name: string) => Promise<Float32Array>) =>
      Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
    const scales = await each((name) => engine.initialScales(name));
    const zeroPoints = await each((name) => engine.initialZeroPoints(name));
    const digest = await engine.baseDigest();
    const merged = await mergedOf(engine);
    const load = { scales, zeroPoints, phi0 };
    await withEngine(
      spec,
      async (again) => {
        assert.equal(await again.baseDigest(), digest);
        assert.deepEqual(await mergedOf(again), merged);
        await assert.rejects(again.evaluate(randomBatch(shape, 1, LENGTH, 1), 'round-to-nearest'));
      },
      { training: true },
      load,
    );
  });
});

test('linears in float stay in float, and the rest is found around them', async () => {
  using folder = new TemporaryFolder();
  const tensors = writeCheckpoint(folder.path, randomCheckpoint(SMALL_SHAPE, 7));
  const base = goldenConfig(SMALL_SHAPE, tensors, { sequences: 2, length: LENGTH }, QUANTIZATION, { training: false });
  const skipped = (name: string): boolean => name.includes('layers.0.') || name.endsWith('k_proj');
  const linears = Object.fromEntries(
    Object.entries(base.linears).map(([name, spec]) => [name, skipped(name) ? null : spec]),
  );
  const engine = new (openAddon().Engine)({ ...base, linears, device: { type: 'cpu' } });
  try {
    await engine.load();
    const seen: string[] = [];
    await engine.findStart({ ...GPTQ, onProgress: ({ linear }) => seen.push(linear) });
    await engine.baseDigest();
    assert.deepEqual(
      seen,
      linearNames(SMALL_SHAPE).filter((name) => !skipped(name)),
    );
  } finally {
    await engine.close();
  }
});

test('the planner counts what finding a start works in', async () => {
  for (const [groupSize, iterations] of [
    [-1, null],
    [8, 2],
  ] as const) {
    const spec: LinearQuantization = { ...QUANTIZATION, groupSize };
    const start = { ...GPTQ, lowRank: iterations === null ? null : { iterations } };
    const taken = await withEngine(spec, (engine) => engine.findStart(start), { threads: 2 });
    const planned = startWorkBytes(
      {
        ...START_ENGINE,
        shape: SMALL_SHAPE,
        linears: Object.fromEntries(linearNames(SMALL_SHAPE).map((name) => [name, spec])),
        compute: 'float32',
        threads: 2,
        microBatchSize: 2,
        sequenceLength: LENGTH,
      },
      { gptq: true, lowRank: iterations },
      SEQUENCES * LENGTH,
    );
    assert.equal(taken, planned);
  }
});

test('a start is found by an engine that evaluates, and a call can be cancelled', async () => {
  await withEngine({}, (engine) => assert.rejects(engine.findStart(GPTQ), { code: 'Unsupported' }), { training: true });
  await withEngine({}, async (engine) => {
    const finding = engine.findStart(GPTQ);
    engine.cancel();
    await assert.rejects(finding, { code: 'Cancelled' });
    await engine.load();
    await engine.findStart(GPTQ);
    assert.ok((await mergedOf(engine)).length > 0);
  });
});
