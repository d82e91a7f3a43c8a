// The planner's numbers: the memory table and the speed bounds of engine.md from the same formulas as the CPU's, the choices
// that "auto" leaves to it, and what it suggests.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  applyOverrides,
  calibrationFromGemm,
  estimate,
  formatBytes,
  formatCount,
  formatEstimate,
  formatSeconds,
  GPU_EFFICIENCY,
  memoryLimitBytes,
  multipliesBf16,
  parseExperiment,
  planDisk,
  planEvaluation,
  planRun,
  resolveLinears,
  type Calibration,
  type Machine,
  type RunPlan,
} from '../../src/experiment';
import { averageVisibleKeys, trainingStepCost } from '../../src/experiment/cost';
import { packedRowBytes } from '../../src/experiment/quantized-linears';
import { layoutOf, planMemory } from '../../src/experiment/planner';
import type { ModelShape } from '../../src/formats/model-shape';
import { assertGolden } from './golden';
import { experimentWith } from './make';
import { llama13B, llama70B, llama7B, tiny } from './shapes';

const GiB = 2 ** 30;
const gpu: Machine = { totalMemory: 140 * GiB, cores: 1, nativeBf16: true, device: 'cuda' };
const cpu: Machine = { totalMemory: 8 * GiB, cores: 2, nativeBf16: false };
/** An H200 as engine.md counts it: 667 TFLOP/s reached by GEMMs, 4.3 TB/s. */
const h200 = calibrationFromGemm(667e12, 4.3e12, GPU_EFFICIENCY);
const smallCpu = calibrationFromGemm(80e9, 10e9);

const w4 = [
  'quantization.storage=integer',
  'training.activationCheckpointing=block',
  'training.microBatchSize=1',
  'memoryLimit=130 GiB',
];

function gpuTotal(shape: ModelShape, ...sets: string[]): number {
  return planRun(experimentWith(...w4, ...sets), shape, gpu).memory.total / GiB;
}

test('the time of the start: none to find, GPTQ by its calibration tokens, singular values by their iterations, not known', () => {
  const secondsWith = (calibration: Calibration, ...sets: string[]) =>
    estimate({ experiment: experimentWith(...sets), shape: tiny, machine: cpu, calibration }).startSeconds;
  assert.equal(secondsWith(smallCpu), 0);
  const one = secondsWith(smallCpu, 'quantization.start.integers=gptq', 'quantization.gptq.sequences=128') ?? NaN;
  const two = secondsWith(smallCpu, 'quantization.start.integers=gptq', 'quantization.gptq.sequences=256') ?? NaN;
  assert.ok(one > 0 && two > one && two < 2 * one, `${String(one)} ${String(two)}`);
  const svd = ['quantization.start.lowRank=svd', 'quantization.start.iterations=1'];
  const singular = secondsWith(smallCpu, ...svd) ?? NaN;
  assert.ok(singular > 0);
  const twice = secondsWith(smallCpu, ...svd.slice(0, 1), 'quantization.start.iterations=2') ?? NaN;
  assert.ok(Math.abs(twice / singular - 2) < 1e-9);
  // The rates of a GPU say nothing about the processor.
  assert.equal(secondsWith(h200, 'quantization.method=gptq'), null);
});

test('weights that are kept for a step are rebuilt once in it', () => {
  const rebuildIn = (batchSize: number, rebuiltWeights: 'keep' | 'rebuild'): number => {
    const sets = ['training.microBatchSize=1', `training.batchSize=${String(batchSize)}`];
    const { input } = planRun(experimentWith(...sets), tiny, cpu);
    return trainingStepCost({ ...layoutOf(input), rebuiltWeights }, batchSize).flops.rebuild;
  };
  assert.equal(rebuildIn(4, 'keep'), rebuildIn(1, 'keep'));
  assert.equal(rebuildIn(4, 'rebuild'), 4 * rebuildIn(1, 'rebuild'));
  assert.equal(rebuildIn(1, 'rebuild'), 2 * rebuildIn(1, 'keep'), 'forward and backward');
});

// engine.md counts the boundaries of the blocks, one block's activations and the workspace in round numbers; ours are what
// the CPU's buffers would be in bf16, among them raw outputs of every linear and two float32 gradients of the residual
// stream. That is 0.05 GiB more a sequence of the micro-batch at 7B: +2 to +6 %.
const table: readonly [name: string, shape: ModelShape, sets: string[], expected: number, tolerance: number][] = [
  ['7B, micro-batch 1', llama7B, [], 5.3, 0.03],
  ['7B, micro-batch 4', llama7B, ['training.microBatchSize=4'], 6.7, 0.055],
  ['7B, micro-batch 8', llama7B, ['training.microBatchSize=8'], 8.6, 0.065],
  ['7B, fixed-point 8', llama7B, ['quantization.storage=fixed-point'], 5.3 + 3.0, 0.03],
  ['13B, micro-batch 1', llama13B, [], 9.3, 0.03],
  ['70B, per channel', llama70B, [], 41.4, 0.02],
  // The engine keeps a group's scale three times (s0, trained, in the linear domain), engine.md counts one: 535M × 8 bytes.
  ['70B, groups of 128', llama70B, ['quantization.weights.granularity={"group":128}'], 49.2 + 4.0, 0.02],
];

for (const [name, shape, sets, expected, tolerance] of table) {
  test(`memory of ${name} is ${expected.toFixed(1)} GiB within ${String(tolerance * 100)} %`, () => {
    const total = gpuTotal(shape, ...sets);
    assert.ok(
      Math.abs(total / expected - 1) <= tolerance,
      `${total.toFixed(3)} GiB planned, ${expected.toFixed(1)} expected`,
    );
  });
}

test('70B with groups of 128 fits a card of 48 GB (44 GiB) with scales that are kept, or with their state on the host', () => {
  const onCard = (...sets: string[]): RunPlan =>
    planRun(
      experimentWith(
        'quantization.storage=integer',
        'quantization.weights.granularity={"group":128}',
        'training.microBatchSize=1',
        'memoryLimit=44 GiB',
        ...sets,
      ),
      llama70B,
      gpu,
    );
  const kept = onCard('quantization.learnScales=false');
  assert.deepEqual([kept.fits, kept.embeddings, kept.optimizerState], [true, 'device', 'device']);
  const learned = onCard();
  assert.deepEqual([learned.fits, learned.embeddings, learned.optimizerState], [true, 'host', 'host']);
  // Scales in two places on the device, with their gradients; s0 and two moments of 535M scales and of A and B on the host.
  const scales = 4 * 535e6;
  const lowRank = 4 * 414e6;
  const near = (bytes: number, expected: number): void => {
    assert.ok(Math.abs(bytes / expected - 1) < 0.01, String(bytes));
  };
  near(learned.memory.parts.parameters, 2 * scales + lowRank);
  near(learned.memory.parts.host, 3 * scales + 2 * lowRank);
  near(kept.memory.parts.parameters, lowRank);
});

test('parts of the 7B table', () => {
  const { parts } = planRun(experimentWith(...w4), llama7B, gpu).memory;
  const near = (bytes: number, expected: number, tolerance: number): void => {
    assert.ok(Math.abs(bytes / GiB - expected) <= tolerance, `${(bytes / GiB).toFixed(3)} for ${String(expected)}`);
  };
  near(parts.quantizedWeights, 3.02, 0.01);
  // A, B with gradient and two moments 1.19, scales with state 0.02, and 0.01 for scales in the linear domain and by row.
  near(parts.parameters + parts.gradients + parts.optimizer, 1.19 + 0.02 + 0.01, 0.01);
  near(parts.embeddings, 0.49, 0.005);
  near(parts.activations + parts.workspace, 0.26 + 0.35, 0.12);
});

// Bounds of engine.md for one H200 (tokens/s at micro-batch 1, 4, 8); operands from memory, nothing clipped. One set of rates
// must give all six within 12 %: the bounds hold a few operations together that we count apart.
const bounds: readonly [microBatch: number, checkpointing: 'none' | 'block', tokensPerSecond: number][] = [
  [1, 'none', 16400],
  [4, 'none', 20700],
  [8, 'none', 20100],
  [1, 'block', 11400],
  [4, 'block', 14600],
  [8, 'block', 14100],
];

for (const [microBatch, checkpointing, expected] of bounds) {
  test(`7B on an H200, micro-batch ${String(microBatch)}, checkpointing ${checkpointing}: ${String(expected)} tokens/s`, () => {
    const experiment = experimentWith(
      ...w4,
      `training.microBatchSize=${String(microBatch)}`,
      `training.activationCheckpointing=${checkpointing}`,
    );
    const { tokensPerSecond } = estimate({ experiment, shape: llama7B, machine: gpu, calibration: h200 });
    assert.ok(Math.abs(tokensPerSecond / expected - 1) < 0.12, `${tokensPerSecond.toFixed(0)} for ${String(expected)}`);
  });
}

test('published counts: 7B has 6.476 G quantized weights, 80.0 M numbers in A and B, 1.36 M scales', () => {
  const result = estimate({ experiment: experimentWith(...w4), shape: llama7B, machine: gpu, calibration: h200 });
  assert.equal(result.quantizedWeights, 6_476_005_376);
  assert.equal(result.trainedParameters, 79_953_920 + 1_359_872);
  const g128 = estimate({
    experiment: experimentWith(...w4, 'quantization.weights.granularity={"group":128}'),
    shape: llama7B,
    machine: gpu,
    calibration: h200,
  });
  assert.equal(g128.trainedParameters, 79_953_920 + 50_593_792);
  assert.ok(Math.abs(g128.bitsPerWeight - 4.25) < 1e-9);
});

test('packed rows: tight codes, whole groups of 32', () => {
  assert.equal(packedRowBytes(4, 4096), 2048);
  assert.equal(packedRowBytes(3, 172), 6 * 12);
  assert.equal(packedRowBytes(8, 1), 32);
  assert.equal(packedRowBytes(16, 5), 10);
  assert.equal(packedRowBytes(32, 5), 20);
});

test('keys that a query sees', () => {
  assert.equal(averageVisibleKeys(tiny, 1), 1);
  assert.equal(averageVisibleKeys(tiny, 4), 2.5);
  assert.equal(averageVisibleKeys({ ...tiny, slidingWindow: 2 }, 4), (1 + 2 + 2 + 2) / 4);
  assert.equal(averageVisibleKeys({ ...tiny, slidingWindow: 9 }, 4), 2.5);
});

test('"auto" checkpointing keeps all activations where they fit', () => {
  const plan = (limit: string, checkpointing = 'auto'): ReturnType<typeof planRun> =>
    planRun(
      experimentWith(`memoryLimit=${limit}`, `training.activationCheckpointing=${checkpointing}`),
      { ...tiny, layers: 24, maxPositions: 2048 },
      cpu,
    );
  assert.equal(plan('8 GiB').activationCheckpointing, 'none');
  const tight = plan('100 MiB');
  assert.equal(tight.activationCheckpointing, 'block');
  assert.ok(tight.fits);
  assert.equal(plan('100 MiB', 'none').fits, false, 'a written choice is kept');
  assert.equal(plan('8 GiB', 'block').activationCheckpointing, 'block');
});

test('"auto" checkpointing keeps as many of the last blocks as the limit allows', () => {
  const shape = { ...tiny, layers: 24, maxPositions: 2048 };
  const rebuilt = { rebuiltWeights: 'rebuild' } as const;
  const plan = (bytes: number): RunPlan =>
    planRun(experimentWith(`memoryLimit=${String(bytes)} B`, 'training.microBatchSize=2'), shape, cpu, rebuilt);
  const all = plan(8 * GiB);
  assert.deepEqual([all.activationCheckpointing, all.keptBlocks], ['none', 24]);
  const least = planRun(
    experimentWith('training.activationCheckpointing=block', 'training.microBatchSize=2'),
    shape,
    cpu,
    rebuilt,
  );
  assert.equal(least.keptBlocks, 1);
  const each = (all.memory.total - least.memory.total) / 23;
  for (let kept = 1; kept < 24; kept++) {
    // One byte less than the next block needs.
    for (const limit of [least.memory.total + (kept - 1) * each, least.memory.total + kept * each - 1]) {
      const chosen = plan(limit);
      assert.deepEqual([chosen.activationCheckpointing, chosen.keptBlocks, chosen.fits], ['block', kept, true]);
      assert.equal(chosen.memory.total, least.memory.total + (kept - 1) * each);
      assert.deepEqual(planMemory(chosen.input), chosen.memory);
    }
  }
  const tooSmall = plan(least.memory.total - 1);
  assert.deepEqual([tooSmall.keptBlocks, tooSmall.fits], [1, false]);
});

test('blocks are kept on a GPU before anything is fetched from the host, and host memory keeps more of them', () => {
  const plan = (gib: number): RunPlan =>
    planRun(
      experimentWith('quantization.storage=integer', 'training.microBatchSize=4', `memoryLimit=${String(gib)} GiB`),
      llama7B,
      gpu,
    );
  const roomy = plan(12);
  assert.equal(roomy.activationCheckpointing, 'block');
  assert.ok(roomy.keptBlocks > 1 && roomy.keptBlocks < 32, String(roomy.keptBlocks));
  assert.deepEqual([roomy.embeddings, roomy.optimizerState], ['device', 'device']);
  assert.ok(roomy.memory.total <= 12 * GiB && roomy.memory.total > 11.3 * GiB, 'what is left is less than a block');
  const tight = plan(6.6);
  assert.deepEqual([tight.embeddings, tight.fits], ['host', true]);
  const speed = (p: RunPlan): number => trainingStepCost(layoutOf(p.input), 4).flops.linears;
  assert.ok(speed(roomy) < speed(tight), 'fewer blocks are computed again');
});

test('rebuilt weights are kept on the CPU where memory is left for them', () => {
  const plan = (machine: Machine, limit: string, ...sets: string[]): RunPlan =>
    planRun(experimentWith(`memoryLimit=${limit}`, ...sets), tiny, machine);
  const roomy = plan(cpu, '4 GiB', 'training.microBatchSize=1');
  assert.deepEqual([roomy.rebuiltWeights, roomy.lanes, roomy.activationCheckpointing], ['keep', 1, 'none']);
  assert.deepEqual(planMemory(roomy.input), roomy.memory);
  assert.equal(plan(cpu, `${String(roomy.memory.total)} B`, 'training.microBatchSize=1').rebuiltWeights, 'keep');
  const tight = plan(cpu, `${String(roomy.memory.total - 1)} B`, 'training.microBatchSize=1');
  assert.deepEqual([tight.rebuiltWeights, tight.activationCheckpointing, tight.fits], ['rebuild', 'none', true]);
  const { workspace, ...others } = roomy.memory.parts;
  assert.deepEqual({ ...tight.memory.parts, workspace }, { ...others, workspace });
  assert.ok(tight.memory.parts.workspace < workspace);
  // Recorded work on a GPU does the same in every micro-batch; nothing is kept where nothing is trained.
  assert.equal(plan(gpu, '40 GiB').rebuiltWeights, 'rebuild');
  assert.equal(plan(cpu, '4 GiB', 'quantization.method=rtn').rebuiltWeights, 'rebuild');
  assert.deepEqual(planEvaluation(roomy, 64), planEvaluation(tight, 64));
  for (const rebuiltWeights of ['keep', 'rebuild'] as const) {
    const stored = planRun(experimentWith('memoryLimit=4 GiB'), tiny, cpu, { rebuiltWeights });
    assert.equal(stored.rebuiltWeights, rebuiltWeights);
  }
});

test('small models train in lanes, as many for 1, 2 and 4 threads, where gradients are small and memory is left', () => {
  const plan = (threads: number, ...sets: string[]): RunPlan =>
    planRun(
      experimentWith(
        ...['training.batchSize=8', 'training.microBatchSize=8', 'data.sequenceLength=256'],
        ...[`threads=${String(threads)}`, 'memoryLimit=4 GiB', ...sets],
      ),
      tiny,
      cpu,
    );
  for (const threads of [1, 2, 4]) assert.equal(plan(threads).lanes, 4, String(threads));
  assert.equal(plan(3).lanes, 1, '8 sequences are not shared evenly by 3 threads');
  assert.equal(plan(8).lanes, 1, '256 tokens are too few for a lane');
  assert.equal(plan(8, 'data.sequenceLength=512').lanes, 8);
  assert.equal(plan(2, 'training.microBatchSize=2', 'data.sequenceLength=512').lanes, 2);
  assert.equal(plan(2, 'quantization.method=lsq').lanes, 1);
  assert.equal(plan(2, 'quantization.method=rtn').lanes, 1);
  const roomy = plan(2);
  assert.deepEqual(planMemory(roomy.input), roomy.memory);
  const tight = plan(2, `memoryLimit=${String(roomy.memory.total - 1)} B`);
  assert.deepEqual([tight.rebuiltWeights, tight.lanes, tight.fits], ['keep', 1, true]);
  assert.equal(roomy.memory.parts.gradients, 4 * tight.memory.parts.gradients);
  const wide = { ...llama7B, layers: 1 };
  const large = experimentWith('training.microBatchSize=8', 'data.sequenceLength=512', 'memoryLimit=40 GiB');
  assert.deepEqual([planRun(large, wide, cpu).rebuiltWeights, planRun(large, wide, cpu).lanes], ['keep', 1]);
  const stored = planRun(experimentWith('training.microBatchSize=8'), tiny, cpu, { rebuiltWeights: 'keep', lanes: 2 });
  assert.equal(stored.lanes, 2);
});

test('bf16 is fast on AMX tiles, which the engine uses itself, or with the GEMM library', () => {
  const gemm = { library: 'oneDNN', version: '2.6.3' };
  assert.equal(multipliesBf16({ bf16: 'amx', gemm }), true);
  assert.equal(multipliesBf16({ bf16: 'amx', gemm: null }), true);
  assert.equal(multipliesBf16({ bf16: 'avx512', gemm }), true);
  assert.equal(multipliesBf16({ bf16: 'avx512', gemm: null }), false);
  assert.equal(multipliesBf16({ bf16: 'none', gemm }), false);
});

test('"auto" compute and threads follow the machine, written and stored ones do not', () => {
  const experiment = experimentWith();
  assert.equal(planRun(experiment, tiny, cpu).compute, 'float32');
  assert.equal(planRun(experiment, tiny, { ...cpu, nativeBf16: true }).compute, 'bf16');
  assert.equal(planRun(experimentWith('compute=float32'), tiny, { ...cpu, nativeBf16: true }).compute, 'float32');
  assert.equal(planRun(experiment, tiny, cpu).threads, 2);
  assert.equal(planRun(experimentWith('threads=7'), tiny, cpu).threads, 7);
  const stored = { compute: 'bf16', threads: 3, activationCheckpointing: 'block' } as const;
  const plan = planRun(experiment, tiny, cpu, stored);
  assert.deepEqual(
    { compute: plan.compute, threads: plan.threads, activationCheckpointing: plan.activationCheckpointing },
    stored,
  );
});

test('round-to-nearest plans no gradients', () => {
  const { parts } = planRun(experimentWith('quantization.method=rtn'), tiny, cpu).memory;
  assert.equal(parts.gradients, 0);
  assert.equal(parts.optimizer, 0);
});

test('memory limits in bytes', () => {
  assert.equal(memoryLimitBytes('auto', 1000), 750);
  assert.equal(memoryLimitBytes(123, 1000), 123);
  assert.equal(memoryLimitBytes('6 GiB', 0), 6 * GiB);
  assert.equal(memoryLimitBytes('1.5MB', 0), 1_500_000);
  assert.equal(memoryLimitBytes('800 B', 0), 800);
});

test('less memory never comes from more of anything', () => {
  const total = (...sets: string[]): number => planRun(experimentWith(...sets), llama7B, cpu).memory.total;
  const base = total();
  assert.ok(total('training.microBatchSize=8') > base);
  assert.ok(total('data.sequenceLength=2048') > base);
  assert.ok(total('quantization.lowRank.rank=64') > base);
  assert.ok(total('quantization.storage=fp32') > base);
  assert.ok(total('quantization.storage=integer') < base);
  assert.ok(total('quantization.learnScales=false') < base);
  assert.ok(total('quantization.weights.symmetric=false') > base);
  assert.ok(
    total('quantization.weights.symmetric=false', 'quantization.learnZeroPoints=false') <
      total('quantization.weights.symmetric=false'),
  );
  assert.ok(total('quantization.layers=[{"match":"*.down_proj","skip":true}]') < base);
});

test('disk: checkpoints kept, the best and one being written', () => {
  const experiment = experimentWith('checkpoint.keep=2');
  const disk = planDisk(experiment, llama7B, resolveLinears(experiment, llama7B));
  const trained = 79_953_920 + 1_359_872;
  assert.equal(disk.checkpoint, trained * 12 + 256 * 1024);
  assert.equal(disk.checkpoints, 4);
  assert.equal(disk.merged, 6_476_005_376 / 2 + 1_359_872 * 4);
  assert.equal(disk.total, disk.checkpoint * 4 + disk.merged + disk.base);
  const asymmetric = experimentWith('quantization.weights.symmetric=false');
  const zeroPoints = planDisk(asymmetric, llama7B, resolveLinears(asymmetric, llama7B));
  assert.equal(zeroPoints.checkpoint, disk.checkpoint + 1_359_872 * 12);
  assert.equal(zeroPoints.base, disk.base * 2);
  assert.equal(zeroPoints.merged, disk.merged + 1_359_872);
  const rtn = experimentWith('quantization.method=rtn');
  assert.equal(planDisk(rtn, llama7B, resolveLinears(rtn, llama7B)).checkpoint, 0);
});

test('suggestions fit, and applying them as written makes the run fit', () => {
  const text = '{ "model": { "path": "m" }, "data": { "train": ["t"], "validation": ["v"] }, "memoryLimit": "7 GiB" }';
  const run = (source: string) => {
    const { experiment } = parseExperiment(source, 'a.lrqat.json');
    assert.ok(experiment);
    return estimate({ experiment, shape: llama7B, machine: gpu, calibration: h200 });
  };
  const before = run(text);
  assert.equal(before.fits, false);
  assert.ok(before.suggestions.length > 0);
  assert.ok(before.suggestions.some(({ fits }) => fits));
  for (const suggestion of before.suggestions) {
    const after = run(applyOverrides(text, suggestion.set));
    assert.equal(after.fits, suggestion.fits, suggestion.title);
    assert.equal(after.total, suggestion.total, suggestion.title);
    assert.ok(after.total < before.total);
  }
});

test('changes that leave the result as it is come first', () => {
  const experiment = experimentWith(
    'training.activationCheckpointing=none',
    'memoryLimit=12 GiB',
    'training.microBatchSize=4',
  );
  const { suggestions } = estimate({ experiment, shape: llama7B, machine: gpu, calibration: h200 });
  const fitting = suggestions.filter(({ fits }) => fits).map(({ changesResult }) => changesResult);
  assert.deepEqual(
    fitting,
    [...fitting].sort((a, b) => Number(a) - Number(b)),
  );
  assert.equal(fitting[0], false);
});

test('a long evaluation that needs more than training is seen', () => {
  const experiment = experimentWith(
    'data.sequenceLength=16',
    'training.microBatchSize=1',
    'evaluation.kinds=["wikitext"]',
    'evaluation.wikitext.files=["w.txt"]',
  );
  const shape = { ...tiny, maxPositions: 4096, vocabSize: 32 };
  const result = estimate({ experiment, shape, machine: cpu, calibration: smallCpu });
  assert.equal(result.evaluationPeak?.sequenceLength, 2048);
  assert.ok(result.evaluationPeak.total > result.total);
});

const texts: Readonly<Record<string, () => string>> = {
  'fits-on-cpu': () =>
    formatEstimate(
      estimate({
        experiment: experimentWith('name=small', 'data.sequenceLength=128', 'training.steps=400', 'threads=2'),
        shape: {
          ...tiny,
          hiddenSize: 512,
          intermediateSize: 1408,
          layers: 8,
          heads: 8,
          kvHeads: 4,
          headDim: 64,
          vocabSize: 8192,
        },
        machine: cpu,
        calibration: smallCpu,
        freeDisk: 50 * GiB,
        validationTokens: 30000,
      }),
    ),
  'too-large-for-cpu': () =>
    formatEstimate(
      estimate({
        experiment: experimentWith('name=seven', 'training.microBatchSize=8'),
        shape: llama7B,
        machine: { ...cpu, totalMemory: 16 * GiB },
        calibration: { ...smallCpu, measured: false },
        freeDisk: 5 * GiB,
      }),
    ),
  'never-fits': () =>
    formatEstimate(
      estimate({ experiment: experimentWith('name=seventy'), shape: llama70B, machine: cpu, calibration: smallCpu }),
    ),
  'round-to-nearest': () =>
    formatEstimate(
      estimate({
        experiment: experimentWith('name=rtn', 'quantization.method=rtn', 'data.sequenceLength=128'),
        shape: tiny,
        machine: cpu,
        calibration: smallCpu,
      }),
    ),
};

for (const [name, text] of Object.entries(texts)) {
  test(`the estimate in words: ${name}`, () => {
    assertGolden(`test/experiment/estimates/${name}.txt`, text());
  });
}

test('numbers in words', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 5.3 * GiB, 123 * GiB].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.00 KiB',
    '1.50 KiB',
    '5.30 GiB',
    '123.0 GiB',
  ]);
  assert.deepEqual([950, 12345, 6.476e9].map(formatCount), ['950', '12.3 k', '6.48 G']);
  assert.deepEqual([0.25, 9.96, 42, 200, 7500, 273600].map(formatSeconds), [
    '0.25 s',
    '10 s',
    '42 s',
    '3 min 20 s',
    '2 h 5 min',
    '3 d 4 h',
  ]);
});
