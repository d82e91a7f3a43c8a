// Small models that other people trained, on real text: the decoder against float64 logits of the original checkpoints, then
// W4, W3 and W2 LR-QAT from the command line. The data lies beside the repository (../shared/data); without it these tests skip.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import type { WeightForm } from '../../native/binding/addon';
import { openModel, openTokenizer } from '../../src/formats';
import { difference, goldenConfig, openAddon, shiftedTargets, TemporaryFolder } from '../goldens/engine-runs';

const DATA = resolve('../shared/data');
const STORIES = join(DATA, 'text/tinystories/tinystories_sample.jsonl');
const skip = existsSync(DATA) ? false : 'the folder ../shared/data with real models and texts is absent';

interface Reference {
  input_ids: number[];
  nll_per_token: number[];
  mean_nll: number;
  last_logits: number[];
}

for (const name of ['stories260K', 'babyllama936K', 'stories279K', 'aidreams260K']) {
  test(`${name}: logits and loss of the original checkpoint`, { skip }, async () => {
    const folder = join(DATA, 'models', name);
    const reference = JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8')) as Reference;
    const model = await openModel(folder);
    const tokens = Int32Array.from(reference.input_ids);
    const length = tokens.length;
    const addon = openAddon();
    const engine = new addon.Engine(
      goldenConfig(model.shape, [...model.tensors], { sequences: 1, length }, null, { training: false }),
    );
    await engine.load();
    const batch = { tokens, targets: shiftedTargets(tokens, length) };
    const logits = await engine.logits(batch, 'float');
    // Float32 NumPy differs from these float64 logits by 1.4e-5 (logits up to 31).
    assert.ok(difference(logits.slice(-model.shape.vocabSize), reference.last_logits).absolute < 1e-4);
    const { lossSum, tokens: predicted } = await engine.evaluate(batch, 'float');
    assert.ok(Math.abs(lossSum / predicted - reference.mean_nll) < 2e-6);
    await engine.close();
  });
}

test('stories260K: perplexity of TinyStories in windows', { skip }, async (t) => {
  const folder = join(DATA, 'models/stories260K');
  const model = await openModel(folder);
  const tokenizer = await openTokenizer(folder, { addonFile: resolve('build/Release/lrqat.node') });
  const stories = readFileSync(STORIES, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { text: string }).text);
  // Each story starts with its BOS, as the model was trained.
  const ids = stories.flatMap((story) => Array.from(tokenizer.encode(story)));
  const length = model.shape.maxPositions;
  const windows = Math.floor(ids.length / length);
  assert.equal(windows, 918);
  const tokens = Int32Array.from(ids.slice(0, windows * length));
  const addon = openAddon();
  const engine = new addon.Engine(
    goldenConfig(model.shape, [...model.tensors], { sequences: 4, length }, null, { training: false, threads: 2 }),
  );
  await engine.load();
  const result = await engine.evaluate({ tokens, targets: shiftedTargets(tokens, length) }, 'float');
  const loss = result.lossSum / result.tokens;
  t.diagnostic(`loss ${String(loss)}, perplexity ${String(Math.exp(loss))}`);
  // The data's README gives 1.483690 from float32 NumPy.
  assert.ok(Math.abs(loss - 1.48369) < 2e-6);
  await engine.close();
});

/** What 60 steps of 8 × 256 tokens must at least win back of the gap between round-to-nearest and float. */
const TRAINED = [
  { name: 'babyllama936K', bits: 4, range: 'lp-4', closed: 0.1 },
  { name: 'babyllama936K', bits: 3, range: 'lp-4', closed: 0.3 },
  { name: 'babyllama936K', bits: 2, range: 'lp-3', closed: 0.5 },
  { name: 'stories260K', bits: 3, range: 'lp-4', closed: 0.3 },
  { name: 'stories260K', bits: 2, range: 'lp-3', closed: 0.5 },
];

for (const { name, bits, range, closed } of TRAINED) {
  test(`${name}: W${String(bits)} LR-QAT on TinyStories`, { skip }, (t) => {
    using folder = new TemporaryFolder();
    const lines = readFileSync(STORIES, 'utf8').trimEnd().split('\n');
    writeFileSync(join(folder.path, 'train.jsonl'), `${lines.slice(0, 1000).join('\n')}\n`);
    writeFileSync(join(folder.path, 'validation.jsonl'), `${lines.slice(1000).join('\n')}\n`);
    const file = join(folder.path, 'run.lrqat.json');
    writeFileSync(
      file,
      JSON.stringify({
        name: `${name}-w${String(bits)}`,
        model: { path: join(DATA, 'models', name) },
        data: { train: ['train.jsonl'], validation: ['validation.jsonl'], sequenceLength: 256, packing: 'documents' },
        quantization: { weights: { bits, range }, lowRank: { rank: 16, alpha: 16 } },
        training: {
          steps: 60,
          batchSize: 8,
          microBatchSize: 8,
          learningRate: { lowRank: 2e-3, scales: 1e-4 },
        },
        evaluation: { everySteps: 60, maxBatches: 16 },
        checkpoint: { everySteps: 60, keep: 1 },
      }),
    );
    const runs = join(folder.path, 'runs');
    execFileSync(process.execPath, ['dist/cli.js', 'train', file, '--runs', runs, '--foreground', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const run = readdirSync(runs).find((entry) => /^\d{8}-/.test(entry));
    assert.ok(run);
    const result = JSON.parse(readFileSync(join(runs, run, 'result.json'), 'utf8')) as {
      perplexity: Record<WeightForm | 'roundToNearest', number>;
      gapClosed: number;
      bitsPerWeight: number;
      tokensPerSecond: number;
    };
    const { float, roundToNearest, trained, merged } = result.perplexity;
    t.diagnostic(
      `perplexity float ${float.toFixed(4)}, round-to-nearest ${roundToNearest.toFixed(4)}, trained ${trained.toFixed(4)}, ` +
        `merged ${merged.toFixed(4)}; gap closed ${(100 * result.gapClosed).toFixed(1)} %, ${result.bitsPerWeight.toFixed(3)} bits a weight`,
    );
    assert.equal(merged, trained);
    assert.ok(result.gapClosed > closed, `only ${String(result.gapClosed)} of the gap closed`);
  });
}
