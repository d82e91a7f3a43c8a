// Our GGUF files in llama.cpp itself, through node-llama-cpp (npm run test:clients installs it): log-probabilities against our
// engine, token ids against our tokenizer, perplexity with quantized blocks. Numbers are printed: they are the measurement.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openModel, openTokenizer } from '../../src/formats';
import { exportRun } from '../../src/trainer/export/export-run';
import { readGguf } from '../formats/gguf-reader';
import { blockLogits, type Arithmetic } from './block-activations';
import { noClient, openLlama, sameTokens, texts, type Llama } from './llama';
import { logProbabilities, ourLogits, proseOf, roundedRun, SHARED_DATA } from './support';

const skip = noClient;
const DATA = SHARED_DATA;
const noData = existsSync(DATA) ? skip : 'the folder ../shared/data with real models and texts is absent';
const LENGTH = 128;

let llama: Llama;
let folder: string;

before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-clients-'));
  if (skip === false) llama = await openLlama();
});

after(async () => {
  if (skip === false) await llama.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function exported(run: string, name: string, type?: string, floatType?: 'F32'): Promise<string> {
  const out = path.join(folder, `${name}.gguf`);
  const options = { ...(type === undefined ? {} : { type }), ...(floatType === undefined ? {} : { floatType }) };
  await exportRun({ run, format: 'gguf', out, force: true, ...options });
  return out;
}

/** The same by llama.cpp, with keys and values kept in float32 (half precision alone would cost 5e-3). */
async function theirProbabilities(file: string, ids: Int32Array): Promise<Map<number, number>[]> {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  try {
    const context = await model.createContext({
      contextSize: 256,
      batchSize: 256,
      threads: 1,
      flashAttention: false,
      experimentalKvCacheKeyType: 'F32',
      experimentalKvCacheValueType: 'F32',
    });
    const result = await context
      .getSequence()
      .controlledEvaluate(Array.from(ids, (id) => [id, { generateNext: { probabilities: true } }]));
    await context.dispose();
    return result.map((entry) => entry?.next.probabilities ?? assert.fail('no probabilities'));
  } finally {
    await model.dispose();
  }
}

function compare(ours: readonly Float64Array[], theirs: readonly Map<number, number>[], ids: Int32Array) {
  const differences: number[] = [];
  const sums = { ours: 0, theirs: 0 };
  for (let t = 0; t + 1 < ids.length; t++) {
    // Of a probability that is float32, the logarithm is good to 1e-7 / p.
    for (const [id, p] of theirs[t]!) {
      if (p > 1e-4) differences.push(Math.abs(Math.log(p) - ours[t]![id]!));
    }
    sums.ours -= ours[t]![ids[t + 1]!]!;
    sums.theirs -= Math.log(theirs[t]!.get(ids[t + 1]!)!);
  }
  const perplexity = (sum: number): number => Math.exp(sum / (ids.length - 1));
  differences.sort((a, b) => a - b);
  const [median, worst] = [differences[differences.length >> 1]!, differences.at(-1)!];
  return { worst, median, ours: perplexity(sums.ours), theirs: perplexity(sums.theirs) };
}

const MODELS = [
  {
    name: 'sample',
    folder: path.resolve('samples/first-run/model'),
    text: path.resolve('samples/first-run/validation.txt'),
    skip,
  },
  ...['stories260K', 'stories279K'].map((name) => ({
    name,
    folder: path.join(DATA, 'models', name),
    text: path.join(DATA, 'text/tinystories/tinystories_sample.jsonl'),
    skip: noData,
  })),
];

for (const { name, folder: modelFolder, text, skip: skipped } of MODELS) {
  test(`${name}: log-probabilities and perplexity of llama.cpp are ours`, { skip: skipped }, async (t) => {
    const model = await openModel(modelFolder);
    const tokenizer = await openTokenizer(modelFolder, { addonFile: path.resolve('build/Release/lrqat.node') });
    const ids = tokenizer.encode(proseOf(text).slice(0, 20_000)).slice(0, LENGTH);
    const run = await roundedRun(folder, modelFolder, text, { bits: 4, granularity: 'per-channel' });
    const ours = logProbabilities(await ourLogits(run, model, ids), model.shape.vocabSize);

    const float = compare(ours, await theirProbabilities(await exported(run, name, 'F32', 'F32'), ids), ids);
    t.diagnostic(`F32: log-probabilities differ by ${float.worst.toExponential(1)} at most`);
    // Both compute in float32 and sum in other orders: a few units in the seventh digit of logits up to 30, after some layers.
    assert.ok(float.worst < 1e-3);
    assert.ok(Math.abs(float.theirs / float.ours - 1) < 1e-4);
  });

  test(
    `${name}: quantized blocks in llama.cpp give our emulation of its 8-bit activations`,
    { skip: skipped },
    async (t) => {
      const { shape } = await openModel(modelFolder);
      const tokenizer = await openTokenizer(modelFolder, { addonFile: path.resolve('build/Release/lrqat.node') });
      const ids = tokenizer.encode(proseOf(text).slice(0, 20_000)).slice(0, LENGTH);
      const weights = { bits: 4, granularity: 'per-channel', scaleFormat: 'fp16' } as const;
      const run = await roundedRun(folder, modelFolder, text, weights);
      for (const type of ['Q4_0', 'Q8_0', 'Q4_K']) {
        const file = await exported(run, name, type);
        const block = { shape, tensors: (await readGguf(file)).tensors };
        const rows = (arithmetic: Arithmetic): Float64Array[] =>
          blockLogits(block, ids, arithmetic).flatMap((row) =>
            logProbabilities(Float32Array.from(row), shape.vocabSize),
          );
        const theirs = await theirProbabilities(file, ids);
        const rounded = rows('rounded');
        const emulated = compare(rounded, theirs, ids);
        const exact = compare(rows('exact'), theirs, ids);
        const inFloat32 = rows('float32').map((row) => new Map(Array.from(row, (p, id) => [id, Math.exp(p)])));
        const itself = compare(rounded, inFloat32, ids);
        const show = ({ worst, median }: { worst: number; median: number }): string =>
          `${worst.toExponential(1)} at most, ${median.toExponential(1)} in the median`;
        t.diagnostic(`${type}: log-probabilities differ from the emulation by ${show(emulated)}`);
        t.diagnostic(`${type}: the emulation with float32 sums from itself by ${show(itself)}`);
        t.diagnostic(`${type}: from exact activations by ${show(exact)}`);
        t.diagnostic(
          `${type}: perplexity ${emulated.theirs.toFixed(4)}, emulated ${emulated.ours.toFixed(4)}, exact ${exact.ours.toFixed(4)}`,
        );
        // Sums in another order move an activation by 1e-7 of itself; one that stood at half a step is then rounded the other way,
        // which moves it by 1/127 of the largest of its block, and what follows with it. How far that goes in a model shows the
        // emulation against itself with its sums in float32.
        assert.ok(emulated.median < Math.max(1e-5, 3 * itself.median), JSON.stringify([emulated, itself]));
        assert.ok(emulated.worst < 0.2, JSON.stringify(emulated));
        assert.ok(Math.abs(emulated.theirs / emulated.ours - 1) < 1e-3);
        assert.ok(emulated.median < exact.median / 2);
        assert.ok(Math.abs(exact.theirs / exact.ours - 1) < 0.02);
      }
    },
  );

  test(`${name}: llama.cpp tokenizes as the tokenizer.json`, { skip: skipped }, async (t) => {
    const tokenizer = await openTokenizer(modelFolder, { addonFile: path.resolve('build/Release/lrqat.node') });
    const run = await roundedRun(folder, modelFolder, text, { bits: 4, granularity: 'per-channel' });
    await sameTokens(t, llama, await exported(run, name), tokenizer, texts(text));
  });
}
