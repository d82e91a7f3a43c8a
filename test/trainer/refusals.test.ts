// Input that cannot be trained on, and disks that fail: a clear error in status.json, nothing half-written, and what was
// complete before stays so.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import type { Experiment } from '../../src/experiment';
import { latestComplete, type RunError } from '../../src/runs';
import { runTrainer } from '../../src/trainer';
import { faultyFileSystem } from '../runs/support';
import {
  assertNothingHalfWritten,
  assertSameRun,
  BF16_NAN,
  checkpointsOf,
  copyOfModel,
  metricsOf,
  newRun,
  poke,
  shortExperiment,
  statusOf,
  sharedFolder,
  temporaryFolder,
  withLongBeginning,
} from './sample-run';

/** As short as a run can be that saves twice. */
const short = {
  training: { steps: 4, batchSize: 2, microBatchSize: 2 },
  evaluation: { everySteps: 2, maxBatches: 2, kinds: ['validation'] as ('validation' | 'wikitext')[] },
  checkpoint: { everySteps: 2, keep: 2 },
};

const folder = sharedFolder();
let reference: string;

before(async () => {
  reference = await newRun(folder, shortExperiment(short));
  assert.equal(await runTrainer(reference), 'finished', JSON.stringify((await statusOf(reference)).error));
});

/** Runs what must fail, and proves that it failed cleanly. */
async function failureOf(run: string): Promise<RunError> {
  assert.equal(await runTrainer(run), 'failed');
  const { state, error } = await statusOf(run);
  assert.equal(state, 'failed');
  assert.ok(error);
  const last = metricsOf(run).at(-1);
  assert.deepEqual(last?.type === 'end' && last.state, 'failed');
  assert.match(readFileSync(path.join(run, 'log.txt'), 'utf8'), /failed at step \d+: /);
  assertNothingHalfWritten(run);
  return error;
}

async function runOf(experiment: Experiment): Promise<string> {
  return newRun(folder, experiment);
}

/** 3.4e38: finite, but what is multiplied with it overflows. */
const BF16_HUGE = 0x7f7f;

describe('hostile input', () => {
  for (const tensor of ['model.layers.3.mlp.up_proj.weight', 'model.norm.weight']) {
    test(`a NaN in ${tensor}`, async (context) => {
      const model = copyOfModel(temporaryFolder(context));
      await poke(model, tensor, BF16_NAN);
      const run = await runOf(shortExperiment({ ...short, model: { path: model } }));
      const { code, message } = await failureOf(run);
      assert.equal(code, 'InputFile');
      assert.ok(message.includes(tensor) && message.includes('model.safetensors'), message);
      assert.match(message, /finite|NaN/);
      assert.deepEqual(checkpointsOf(run), []);
      assert.equal(existsSync(path.join(run, 'base', 'scales.safetensors')), false);
    });
  }

  test('a tokenizer with more tokens than the model has rows', async (context) => {
    const model = copyOfModel(temporaryFolder(context));
    const file = path.join(model, 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(file, 'utf8')) as { added_tokens: object[] };
    tokenizer.added_tokens.push({
      id: 4096,
      content: '<|extra|>',
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    });
    writeFileSync(file, JSON.stringify(tokenizer));
    const run = await runOf(shortExperiment({ ...short, model: { path: model } }));
    const { code, message } = await failureOf(run);
    assert.equal(code, 'VocabularyMismatch');
    assert.match(message, /tokenizer\.json has 4097 tokens.*4096/);
  });

  test('an empty corpus, and one shorter than a sequence', async (context) => {
    const texts = temporaryFolder(context);
    for (const [name, text] of [
      ['empty.txt', ''],
      ['short.txt', 'Too short.'],
    ] as const) {
      const file = path.join(texts, name);
      writeFileSync(file, text);
      const run = await runOf(shortExperiment({ ...short, data: { train: [file] } }));
      const { message, hint } = await failureOf(run);
      assert.ok(message.includes(name), message);
      assert.ok(hint);
    }
  });

  test('a folder without a model, a corpus that is not there', async () => {
    const noModel = await runOf(shortExperiment({ ...short, model: { path: folder } }));
    assert.match((await failureOf(noModel)).message, /config\.json/);
    const noText = await runOf(shortExperiment({ ...short, data: { train: ['no-such-text.txt'] } }));
    assert.match((await failureOf(noText)).message, /no-such-text\.txt/);
  });

  test('a device that is not there, memory that does not suffice', async () => {
    const cuda = await runOf(shortExperiment({ ...short, device: 'cuda' }));
    assert.equal((await failureOf(cuda)).code, 'DeviceUnavailable');
    const small = { ...short, memoryLimit: '2 MiB' };
    const { code, message } = await failureOf(await runOf(shortExperiment(small)));
    assert.equal(code, 'OutOfMemory');
    assert.match(message, /2(\.0+)? MiB are allowed/);
  });

  test('memory that suffices for the run, but not for finding its start', async () => {
    const quantization = { method: 'gptq' as const, gptq: { sequences: 4096 } };
    const run = await runOf(shortExperiment({ ...short, memoryLimit: '64 MiB', quantization }));
    const { code, message, hint } = await failureOf(run);
    assert.equal(code, 'OutOfMemory');
    assert.match(message, /finding the start of the run needs .*, 64(\.0+)? MiB are allowed/);
    assert.match(hint ?? '', /Fewer quantization\.gptq\.sequences than 4096/);
  });

  test('a loss that is never finite ends the run after five steps, and nothing of it is best', async (context) => {
    const model = copyOfModel(temporaryFolder(context));
    await poke(model, 'model.norm.weight', BF16_HUGE, 192);
    const run = await runOf(
      shortExperiment({ ...short, training: { ...short.training, steps: 20 }, model: { path: model } }),
    );
    const { code, message } = await failureOf(run);
    assert.equal(code, 'NotFinite');
    assert.match(message, /5 steps in a row.*step 5/);
    const status = await statusOf(run);
    assert.equal(status.best, null);
    const steps = metricsOf(run).filter((event) => event.type === 'step');
    assert.equal(steps.length, 5);
    for (const { skipped, loss } of steps) {
      assert.equal(skipped, true);
      assert.equal(loss, null);
    }
    for (const event of metricsOf(run)) if (event.type === 'eval') assert.equal(event.perplexity, null);
  });
});

describe('what a resume needs has changed', () => {
  async function stoppedAt2(experiment: Experiment): Promise<string> {
    const run = await runOf(experiment);
    const stop = new AbortController();
    await runTrainer(run, {
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 2) stop.abort();
      },
    });
    assert.equal((await statusOf(run)).step, 2);
    return run;
  }

  test('other weights are refused, the old ones continue', async (context) => {
    const model = copyOfModel(temporaryFolder(context));
    const run = await stoppedAt2(shortExperiment({ ...short, model: { path: model } }));
    const file = path.join(model, 'model.safetensors');
    const original = readFileSync(file);
    // 1.0 in the middle of a layer.
    await poke(model, 'model.layers.2.self_attn.q_proj.weight', 0x3f80);
    const { code, message } = await failureOf(run);
    assert.equal(code, 'BaseChanged');
    assert.ok(message.includes(model), message);
    writeFileSync(file, original);
    assert.equal(await runTrainer(run), 'finished');
    await assertSameRun(run, reference);
  });

  test('other text is refused', async (context) => {
    const text = path.join(temporaryFolder(context), 'train.txt');
    writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 20_000));
    const run = await stoppedAt2(shortExperiment({ ...short, data: { train: [text] } }));
    writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(1000, 21_000));
    const { code, message } = await failureOf(run);
    assert.equal(code, 'DataChanged');
    assert.match(message, /train/);
  });

  test('a machine that computes otherwise is said so in the log', async () => {
    const run = await stoppedAt2(shortExperiment(short));
    const file = path.join(run, 'choices.json');
    const choices = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...choices, processor: 'Another One 3000' }));
    assert.equal(await runTrainer(run), 'finished');
    assert.match(readFileSync(path.join(run, 'log.txt'), 'utf8'), /not be equal to the bit.*Another One 3000/);
  });
});

describe('disk full', () => {
  for (const [name, experiment, tried] of [
    ['at any moment of a run', shortExperiment(short), 8],
    ['with integers, ranges and a teacher to find', withLongBeginning(short), 4],
  ] as const) {
    test(`${name}: it fails with the reason, and resumes once there is space`, async () => {
      const counting = faultyFileSystem(null);
      const whole = await runOf(experiment);
      assert.equal(await runTrainer(whole, { fileSystem: counting }), 'finished');
      const total = counting.calls.length;
      const reached = new Set<string>();
      for (let i = 0; i < tried; i++) {
        // Spread over the run; the first calls take ownership, which fails before there is a run to fail.
        const at = 25 + Math.floor(((total - 26) * i) / (tried - 1));
        const run = await runOf(experiment);
        const fileSystem = faultyFileSystem({ at, code: 'ENOSPC', persistent: true, partial: true });
        const state = await runTrainer(run, { fileSystem });
        reached.add(state);
        assertNothingHalfWritten(run);
        const complete = checkpointsOf(run);
        assert.equal(
          (await latestComplete(run))?.step ?? 0,
          complete.length === 0 ? 0 : Number(complete.at(-1)!.slice(5)),
        );
        if (state === 'finished') {
          // Only the last words were lost.
          assert.ok(existsSync(path.join(run, 'result.json')));
          continue;
        }
        const { error, state: written } = await statusOf(run);
        // A full disk may keep even the status from being written; readers then see a dead owner.
        if (written === 'failed') {
          assert.equal(error?.code, 'DiskFull');
          assert.match(error.hint ?? '', /lrqat resume/);
        }
        assert.equal(await runTrainer(run), 'finished', JSON.stringify((await statusOf(run)).error));
        await assertSameRun(run, whole);
      }
      assert.ok(reached.has('failed'));
    });
  }
});
