// evaluateModel: any text, outside of training.

import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { runTrainer } from '../../src/trainer';
import { evaluateModel } from '../../src/trainer/evaluate';
import { evaluateTasks } from '../../src/trainer/tasks/evaluate-tasks';
import { BF16_NAN, newRun, poke, resultOf, shortExperiment, sharedFolder } from './sample-run';

const MODEL = 'samples/first-run/model';

const folder = sharedFolder();
let run: string;
let text: string;

before(async () => {
  // The cache of token ids goes into this folder as well, not into the user's.
  process.env['XDG_CACHE_HOME'] = folder;
  text = path.join(folder, 'text.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 3000));
  const experiment = shortExperiment({
    data: { train: [text], validation: [text], sequenceLength: 32 },
    training: { steps: 3, batchSize: 2, microBatchSize: 2 },
    evaluation: { everySteps: 0, maxBatches: null },
  });
  run = await newRun(folder, experiment);
  assert.equal(await runTrainer(run), 'finished');
});

test('a run is measured in all forms, with the numbers of its result', async () => {
  const phases = new Set<string>();
  const { forms, step, sequenceLength } = await evaluateModel({
    run,
    data: [text],
    onProgress: ({ phase, done, total }) => {
      assert.ok(done <= total);
      phases.add(phase);
    },
  });
  assert.equal(step, 3);
  assert.equal(sequenceLength, 32);
  const { perplexity } = await resultOf(run);
  const expected = [perplexity.float, perplexity.roundToNearest, perplexity.trained, perplexity.merged];
  assert.deepEqual(
    forms.map(({ form }) => form),
    ['float', 'round-to-nearest', 'trained', 'merged'],
  );
  // The micro-batch differs from the run's, so sums are taken in another order.
  for (const [i, { perplexity: measured }] of forms.entries()) {
    assert.ok(Math.abs(measured! / expected[i]! - 1) < 1e-6, `${String(measured)} for ${String(expected[i])}`);
  }
  assert.equal(forms[2]!.perplexity, forms[3]!.perplexity);
  assert.ok(phases.has('loading the model') && phases.has('evaluating: merged'));
});

test('a model folder is measured in float', async () => {
  const options = { data: [text], compute: 'float32', threads: 2 } as const;
  const { forms } = await evaluateModel({ model: MODEL, sequenceLength: 32, ...options });
  assert.equal(forms.length, 1);
  const { perplexity } = await resultOf(run);
  assert.ok(Math.abs(forms[0]!.perplexity! / perplexity.float! - 1) < 1e-6);
  const longer = await evaluateModel({ model: MODEL, sequenceLength: 128, ...options });
  assert.ok(longer.forms[0]!.perplexity! < perplexity.float!, 'more context helps');
});

test('what cannot be measured is said', async () => {
  const data = [text];
  await assert.rejects(evaluateModel({ model: MODEL, data, forms: ['trained'] }), {
    code: 'FormUnavailable',
    hint: 'Available: float.',
  });
  await assert.rejects(evaluateModel({ model: MODEL, data, sequenceLength: 4096 }), { code: 'SequenceTooLong' });
  await assert.rejects(evaluateModel({ model: MODEL, data, sequenceLength: 2000 }), { code: 'CorpusTooShort' });
  await assert.rejects(evaluateModel({ model: folder, data }), /config\.json/);
  await assert.rejects(evaluateModel({ model: MODEL, data: [path.join(folder, 'absent.txt')] }), /absent\.txt/);
});

test('weights that are no numbers are an error, not a perplexity', async () => {
  const model = path.join(folder, 'damaged');
  cpSync(MODEL, model, { recursive: true });
  await poke(model, 'model.layers.3.mlp.up_proj.weight', BF16_NAN);
  const rows = path.join(folder, 'rows.jsonl');
  writeFileSync(rows, `${JSON.stringify({ query: 'Question: why?', choices: ['so', 'not so'], gold: 0 })}\n`);
  const expected = { code: 'NotFinite', message: /damaged/ };
  await assert.rejects(evaluateModel({ model, data: [text], sequenceLength: 32 }), expected);
  await assert.rejects(evaluateTasks({ model, tasks: [{ task: 'arc-easy', file: rows }] }), expected);
});

test('it ends when it is aborted', async () => {
  const abort = new AbortController();
  const evaluation = evaluateModel({
    model: MODEL,
    data: ['samples/first-run/train.txt'],
    sequenceLength: 32,
    signal: abort.signal,
    onProgress: ({ phase, done }) => {
      if (phase === 'evaluating: float' && done === 1) abort.abort();
    },
  });
  await assert.rejects(evaluation, { name: 'AbortError' });
});
