// Exports of a real run: what is written, what is refused, what a stop leaves behind.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { UserError } from '../../src/errors';
import { nodeFileSystem, openModel, readTensor } from '../../src/formats';
import type { FileSystem } from '../../src/formats/file-system';
import { fitsHalf } from '../../src/formats/half';
import { checkpointDirectory, readResult } from '../../src/runs';
import { runTrainer } from '../../src/trainer';
import { evaluateModel, type Evaluation } from '../../src/trainer/evaluate';
import { exportRun, measureOnly, offerFormats } from '../../src/trainer/export/export-run';
import type { PerplexityChange } from '../../src/trainer/export/perplexity-change';
import { lrqat, type Outcome } from '../cli/support';
import { readGguf } from '../formats/gguf-reader';
import { copyOfModel, newRun, shortExperiment, sharedFolder } from './sample-run';

const folder = sharedFolder();
const at = (name: string): string => path.join(folder, name);
let run: string;

before(async () => {
  const text = at('text.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 3000));
  const experiment = shortExperiment({
    data: { train: [text], validation: [text], sequenceLength: 32 },
    training: { steps: 4, batchSize: 2, microBatchSize: 2 },
    evaluation: { everySteps: 0, maxBatches: 1000 },
    checkpoint: { everySteps: 2, keep: 2 },
  });
  run = await newRun(folder, experiment);
  assert.equal(await runTrainer(run), 'finished');
});

async function refused(code: string, body: () => Promise<unknown>): Promise<void> {
  await assert.rejects(body, (error: unknown) => error instanceof UserError && error.code === code);
}

/** Names in a folder, hidden ones included: whatever was half written would show. */
const names = (place: string): string[] => readdirSync(place).sort();

test('a GGUF folder has its card and a manifest with the hash of every file', async () => {
  const out = at('folder');
  const seen: number[] = [];
  const exported = await exportRun({
    run,
    format: 'gguf',
    out,
    onProgress: (phase, done, total) => {
      assert.equal(phase, 'writing');
      assert.ok(done <= total);
      seen.push(done);
    },
  });
  assert.deepEqual(names(out), ['README.md', 'manifest.json', 'short.gguf']);
  for (const { name, bytes, sha256 } of exported.files) {
    const contents = readFileSync(path.join(out, name));
    assert.equal(contents.length, bytes);
    assert.equal(createHash('sha256').update(contents).digest('hex'), sha256);
  }
  const manifest = JSON.parse(readFileSync(path.join(out, 'manifest.json'), 'utf8')) as Record<string, unknown>;
  assert.deepEqual(
    manifest['files'],
    exported.files.filter(({ name }) => name !== 'manifest.json'),
  );
  assert.equal(manifest['exact'], exported.exact);
  // Progress counts tensor data, all of it.
  const size = exported.files.find(({ name }) => name === 'short.gguf')!.bytes;
  assert.ok(seen.at(-1)! > 0.9 * size && seen.at(-1)! <= size);
  const card = readFileSync(path.join(out, 'README.md'), 'utf8');
  assert.match(card, /2-bit weights \(per-channel\)/);
  assert.match(card, /SHA-256 [0-9a-f]{64}/);
  assert.ok(!card.includes(folder) && !JSON.stringify(manifest).includes(folder), 'names a folder of this machine');
  const { metadata } = await readGguf(path.join(out, 'short.gguf'));
  assert.equal(metadata['tokenizer.ggml.pre'], 'gpt-2');
  assert.equal(metadata['tokenizer.ggml.bos_token_id'], 0);
  assert.equal(metadata['tokenizer.ggml.eos_token_id'], 1);
  assert.equal(metadata['tokenizer.ggml.add_bos_token'], true);
  assert.equal((metadata['tokenizer.ggml.tokens'] as string[]).length, 4096);
});

test('the last checkpoint is what the run was merged to, an earlier one is not', async () => {
  const outs = [at('merged.gguf'), at('last.gguf'), at('earlier.gguf')] as const;
  await exportRun({ run, format: 'gguf', out: outs[0] });
  await exportRun({ run, format: 'gguf', out: outs[1], checkpoint: 4 });
  await exportRun({ run, format: 'gguf', out: outs[2], checkpoint: 2 });
  const [merged, last, earlier] = outs.map((file) => readFileSync(file));
  assert.ok(merged!.equals(last!));
  assert.ok(!merged!.equals(earlier!));
  assert.ok(existsSync(at('merged.gguf.manifest.json')) && existsSync(at('merged.gguf.README.md')));
  await refused('NothingToExport', () => exportRun({ run, format: 'gguf', out: at('none'), checkpoint: 3 }));
});

test('nothing is replaced without being asked, and nothing but an export with it', async () => {
  const out = at('twice');
  await exportRun({ run, format: 'gguf', out });
  await refused('OutputExists', () => exportRun({ run, format: 'gguf', out }));
  writeFileSync(path.join(out, 'README.md'), 'changed');
  await exportRun({ run, format: 'gguf', out, force: true });
  assert.notEqual(readFileSync(path.join(out, 'README.md'), 'utf8'), 'changed');

  const mine = at('mine');
  mkdirSync(mine);
  writeFileSync(path.join(mine, 'thesis.txt'), 'years of work');
  await refused('NotAnExport', () => exportRun({ run, format: 'gguf', out: mine, force: true }));
  assert.deepEqual(names(mine), ['thesis.txt']);
  await refused('UnknownType', () => exportRun({ run, format: 'gguf', out: at('new'), type: 'Q9_9' }));
});

test('a stopped export leaves nothing behind', async () => {
  const place = at('stopped');
  mkdirSync(place);
  for (const name of ['folder', 'file.gguf']) {
    const interrupt = new AbortController();
    const stopped = exportRun({
      run,
      format: 'gguf',
      out: path.join(place, name),
      signal: interrupt.signal,
      onProgress: () => interrupt.abort(),
    });
    await assert.rejects(stopped, { name: 'AbortError' });
    assert.deepEqual(names(place), []);
  }
});

test('what rounding does to perplexity is measured before anything is written', async () => {
  const out = at('measured');
  const measured: PerplexityChange[] = [];
  const onMeasured = (change: PerplexityChange): void => {
    assert.ok(!existsSync(out));
    measured.push(change);
  };
  const common = { run, format: 'huggingface', measure: true, onMeasured } as const;
  const exported = await exportRun({ ...common, out, type: 'bf16' });
  const [change] = measured;
  assert.equal(exported.exact, false);
  assert.deepEqual(exported.perplexity, change);
  const result = await readResult(run);
  assert.equal(change!.before, result!.perplexity.merged);
  assert.notEqual(change!.after, change!.before);
  // What is measured is what stands in the folder: the engine computes the same from the files themselves.
  const options = { compute: 'float32', threads: 2, device: 'cpu', sequenceLength: 32 } as const;
  const evaluated = await evaluateModel({ model: out, data: [at('text.txt')], ...options });
  assert.equal(evaluated.forms[0]!.tokens, change!.tokens);
  assert.ok(Math.abs(evaluated.forms[0]!.perplexity! / change!.after! - 1) < 1e-6);
  const card = readFileSync(path.join(out, 'README.md'), 'utf8');
  assert.ok(card.includes(`${change!.before!.toFixed(4)} → ${change!.after!.toFixed(4)}`));

  // Scales in half precision move it by less than their 2^-11; nothing is written for that.
  const scales = await measureOnly({ run, format: 'gguf' });
  assert.equal(scales!.before, change!.before);
  assert.notEqual(scales!.after, scales!.before);
  assert.ok(Math.abs(scales!.after! / scales!.before! - 1) < 2e-3);
  assert.equal(await measureOnly({ run, format: 'lr-qat' }), null);
});

test('a measurement that is stopped, or has no text, leaves nothing behind', async () => {
  const place = at('unmeasured');
  mkdirSync(place);
  const out = path.join(place, 'model.gguf');
  const interrupt = new AbortController();
  const stopped = exportRun({
    run,
    format: 'gguf',
    out,
    measure: true,
    signal: interrupt.signal,
    onProgress: (phase) => phase.startsWith('measuring') && interrupt.abort(),
  });
  await assert.rejects(stopped, { name: 'AbortError' });
  const moved = path.join(folder, 'moved.txt');
  renameSync(at('text.txt'), moved);
  try {
    await refused('CannotMeasure', () => exportRun({ run, format: 'gguf', out, measure: true }));
  } finally {
    renameSync(moved, at('text.txt'));
  }
  assert.deepEqual(names(place), []);
});

test('a run with zero points: what is exported computes what was merged', async () => {
  const own = await newRun(
    folder,
    shortExperiment({
      data: { train: [at('text.txt')], validation: [at('text.txt')], sequenceLength: 32 },
      quantization: { method: 'rtn', weights: { bits: 3, symmetric: false, scaleFormat: 'bf16' } },
      evaluation: { everySteps: 0, maxBatches: 1000 },
    }),
  );
  assert.equal(await runTrainer(own), 'finished');
  const offers = await offerFormats({ run: own });
  for (const { format, obstacle, exact } of offers) {
    assert.equal(obstacle, null, format);
    // GPTQ keeps what is not quantized in half precision, the sample has it in bfloat16.
    assert.equal(exact, format !== 'gptq', format);
  }
  const merged = (await readResult(own))!.perplexity.merged!;
  const out = at('asymmetric');
  await exportRun({ run: own, format: 'huggingface', out });
  const options = { compute: 'float32', threads: 2, device: 'cpu', sequenceLength: 32 } as const;
  const { forms } = await evaluateModel({ model: out, data: [at('text.txt')], ...options });
  assert.ok(Math.abs(forms[0]!.perplexity! / merged - 1) < 1e-6);
  // The same from our own layout, by the command; its decoded copy is gone afterwards, and what is damaged is named.
  const packed = at('packed');
  await exportRun({ run: own, format: 'lr-qat', out: packed });
  const cache = at('cache');
  const evaluate = (): Promise<Outcome> =>
    lrqat(['evaluate', packed, '--data', at('text.txt'), '--sequence-length', '32', '--device', 'cpu', '--json'], {
      env: { XDG_CACHE_HOME: cache },
    });
  const { code, stdout, stderr } = await evaluate();
  assert.equal(code, 0, stderr);
  const { forms: found, compute } = JSON.parse(stdout) as Evaluation;
  // The command takes the arithmetic of the machine.
  assert.ok(Math.abs(found[0]!.perplexity! / merged - 1) < (compute === 'float32' ? 1e-6 : 5e-3), stdout);
  assert.equal(found[0]!.tokens, forms[0]!.tokens);
  assert.deepEqual(
    names(path.join(cache, 'lrqat')).filter((name) => name.startsWith('.decoded')),
    [],
  );
  const config = path.join(packed, 'config.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('"bits": 3', '"bits": 33'));
  const refusal = await evaluate();
  assert.equal(refusal.code, 2);
  assert.match(
    refusal.stderr,
    /config\.json: quantization_config\.linears\.model\.layers\.0\.\S+ is .*bits \(2 to 8\)/,
  );
  // Rounded on purpose: measured with the zero points in place.
  const change = await measureOnly({ run: own, format: 'huggingface', type: 'bf16' });
  assert.equal(change!.before, merged);
  assert.ok(Math.abs(change!.after! / merged - 1) < 0.02);
});

test('a run that has trained norms, head and embeddings: every export has them', async () => {
  const own = await newRun(
    folder,
    shortExperiment({
      data: { train: [at('text.txt')], validation: [at('text.txt')], sequenceLength: 32 },
      quantization: { weights: { bits: 4, scaleFormat: 'bf16' }, lowRank: { rank: 2, alpha: 2 } },
      training: {
        steps: 2,
        batchSize: 2,
        microBatchSize: 1,
        warmupRatio: 0,
        learningRate: { lowRank: 1e-3, scales: 1e-5, norms: 1e-2, embeddings: 1e-3 },
      },
      evaluation: { everySteps: 0, maxBatches: 1000 },
      checkpoint: { everySteps: 1, keep: 2 },
    }),
  );
  assert.equal(await runTrainer(own), 'finished');
  const { merged, trained } = (await readResult(own))!.perplexity;
  assert.equal(merged, trained);
  const options = { compute: 'float32', threads: 2, device: 'cpu', sequenceLength: 32 } as const;
  for (const format of ['huggingface', 'lr-qat'] as const) {
    const out = at(`groups-${format}`);
    await exportRun({ run: own, format, out });
    const { forms } = await evaluateModel({ model: out, data: [at('text.txt')], ...options });
    assert.ok(Math.abs(forms[0]!.perplexity! / merged! - 1) < 1e-6, format);
  }
  // An earlier checkpoint is merged with its own.
  const early = at('groups-early');
  await exportRun({ run: own, format: 'lr-qat', out: early, checkpoint: 1 });
  const { forms } = await evaluateModel({ model: early, data: [at('text.txt')], ...options });
  assert.ok(Math.abs(forms[0]!.perplexity! / merged! - 1) > 1e-4);
  // In bfloat16 norms and embeddings are rounded as well, and what that costs is measured.
  const change = await measureOnly({ run: own, format: 'huggingface', type: 'bf16' });
  assert.equal(change!.before, merged);
  assert.ok(change!.after !== merged && Math.abs(change!.after! / merged! - 1) < 0.02, JSON.stringify(change));
  for (const { format, obstacle } of await offerFormats({ run: own })) assert.equal(obstacle, null, format);
});

test('a run with quantized activations: both sides are measured with them, also where all weights are floats then', async () => {
  const own = await newRun(
    folder,
    shortExperiment({
      data: { train: [at('text.txt')], validation: [at('text.txt')], sequenceLength: 32 },
      quantization: { method: 'rtn', weights: { bits: 4 }, activations: { bits: 3 } },
      evaluation: { everySteps: 0, maxBatches: 1000 },
    }),
  );
  assert.equal(await runTrainer(own), 'finished');
  const { merged, float } = (await readResult(own))!.perplexity;
  // Three bits cost more than the bound below, or this would show nothing.
  assert.ok(merged! > 1.2 * float!, `${String(merged)} ${String(float)}`);
  const change = await measureOnly({ run: own, format: 'huggingface', type: 'bf16' });
  assert.equal(change!.before, merged);
  assert.ok(Math.abs(change!.after! / merged! - 1) < 0.1, JSON.stringify(change));
});

test('the licence of the base model goes with it: in card, GGUF and as the file that it is', async () => {
  const model = copyOfModel(at('licensed'));
  writeFileSync(path.join(model, 'README.md'), '---\nlicense: apache-2.0\nlanguage: en\n---\n# A model\n');
  writeFileSync(path.join(model, 'LICENSE'), 'the terms');
  const own = await newRun(
    folder,
    shortExperiment({
      model: { path: model },
      data: { train: [at('text.txt')], validation: [at('text.txt')], sequenceLength: 32 },
      quantization: { method: 'rtn', weights: { bits: 4 } },
      evaluation: { everySteps: 0, maxBatches: 1 },
    }),
  );
  assert.equal(await runTrainer(own), 'finished');
  const [file, out] = [at('licensed.gguf'), at('licensed-folder')];
  await exportRun({ run: own, format: 'gguf', out: file });
  await exportRun({ run: own, format: 'lr-qat', out });
  assert.equal((await readGguf(file)).metadata['general.license'], 'apache-2.0');
  for (const card of [`${file}.README.md`, path.join(out, 'README.md')]) {
    const text = readFileSync(card, 'utf8');
    assert.match(text, /^---\nlicense: apache-2\.0\nbase_model: model\n/);
    assert.match(text, /The licence of the base model \(apache-2\.0\) applies to this model as well\./);
    // Recipe and perplexities.
    assert.match(text, /\| weights \| 4 bits, per-channel, range /);
    assert.match(text, /\| this model \(merged\) \| [\d.]+ \|/);
  }
  assert.equal(readFileSync(path.join(out, 'LICENSE'), 'utf8'), 'the terms');
});

test('a folder larger than a shard is several files with an index, which open as one model', async () => {
  const out = at('shards');
  const whole = at('whole');
  await exportRun({ run, format: 'huggingface', out, type: 'fp32', shardBytes: 3_000_000 });
  await exportRun({ run, format: 'huggingface', out: whole, type: 'fp32' });
  const files = names(out).filter((name) => name.endsWith('.safetensors'));
  assert.ok(files.length > 1);
  files.forEach((name, i) => {
    assert.equal(name, `model-0000${String(i + 1)}-of-0000${String(files.length)}.safetensors`);
  });
  const [one, other] = [await openModel(out), await openModel(whole)];
  const { total_size: total } = (
    JSON.parse(readFileSync(path.join(out, 'model.safetensors.index.json'), 'utf8')) as {
      metadata: { total_size: number };
    }
  ).metadata;
  assert.equal(
    total,
    other.tensors.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  for (const [i, tensor] of other.tensors.entries()) {
    const split = one.tensors[i]!;
    assert.equal(split.name, tensor.name);
    assert.deepEqual(await readTensor(split.file, tensor.name), await readTensor(tensor.file, tensor.name));
  }
});

test('a full disk leaves nothing behind and an earlier export as it was', async () => {
  const place = at('full');
  mkdirSync(place);
  const early = path.join(place, 'folder');
  await exportRun({ run, format: 'lr-qat', out: early });
  const before = readFileSync(path.join(early, 'manifest.json'), 'utf8');
  for (const [format, name] of [
    ['lr-qat', 'folder'],
    ['gguf', 'file.gguf'],
  ] as const) {
    let room = 1_000_000;
    const full: FileSystem = {
      ...nodeFileSystem,
      open: async (file, flags) => {
        const inner = await nodeFileSystem.open(file, flags);
        return {
          read: (...of) => inner.read(...of),
          write: (buffer, offset, length, position) => {
            room -= length;
            const error = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
            return room < 0 ? Promise.reject(error) : inner.write(buffer, offset, length, position);
          },
          stat: () => inner.stat(),
          truncate: (length) => inner.truncate(length),
          datasync: () => inner.datasync(),
          close: () => inner.close(),
        };
      },
    };
    const out = path.join(place, name);
    await assert.rejects(exportRun({ run, format, out, force: true, fileSystem: full }), { code: 'ENOSPC' });
    assert.deepEqual(names(place), ['folder']);
    assert.equal(readFileSync(path.join(early, 'manifest.json'), 'utf8'), before);
  }
});

test('the list says of every format whether it is exact, or why it cannot be', async () => {
  const offers = await offerFormats({ run });
  const gguf = offers.find(({ format }) => format === 'gguf')!;
  assert.equal(gguf.obstacle, null);
  assert.equal(gguf.exact, false);
  assert.match(gguf.losses.join(), /scales are rounded to half precision/);
  // Inputs of 192 take blocks of 32, of 512 super-blocks of 256.
  assert.equal(gguf.stored, 'Q4_0, Q2_K');
  for (const { obstacle, bytes } of offers) assert.ok((obstacle === null) === bytes > 0);
});

test('scales kept to a 16-bit type: its formats are exact, and training still moves them', async () => {
  const place = at('formats');
  for (const [scaleFormat, granularity, exact] of [
    ['fp16', 'per-channel', ['gguf', 'huggingface', 'lr-qat']],
    ['bf16', { group: 32 }, ['gguf', 'huggingface', 'compressed-tensors', 'lr-qat']],
  ] as const) {
    const text = at('text.txt');
    const own = await newRun(
      folder,
      shortExperiment({
        data: { train: [text], validation: [text], sequenceLength: 32 },
        quantization: { weights: { bits: 2, granularity, scaleFormat }, lowRank: { rank: 4, alpha: 4 } },
        training: { steps: 4, batchSize: 2, microBatchSize: 2, learningRate: { lowRank: 1e-3, scales: 1e-3 } },
        evaluation: { everySteps: 0, maxBatches: 1 },
        checkpoint: { everySteps: 2, keep: 2 },
      }),
    );
    assert.equal(await runTrainer(own), 'finished');
    const offers = await offerFormats({ run: own });
    assert.deepEqual(
      offers.filter((offer) => offer.exact).map(({ format }) => format),
      exact,
      JSON.stringify(offers),
    );
    const name = 'model.layers.1.mlp.up_proj';
    const scales = await readTensor(path.join(own, 'merged.safetensors'), `${name}.scales`);
    const start = await readTensor(path.join(own, 'base', 'scales.safetensors'), name);
    const trained = await readTensor(path.join(checkpointDirectory(own, 4), 'adapter.safetensors'), `${name}.scale`);
    const half = scaleFormat;
    const onGrid = (values: ArrayLike<number | bigint>): boolean =>
      Array.from(values, Number).every((value) => fitsHalf(value, half));
    assert.ok(onGrid(scales) && onGrid(start));
    // The copies that the optimiser changes are float32, or small steps would be lost.
    assert.ok(!onGrid(trained));
    assert.ok(Array.from(scales, Number).some((value, i) => value !== Number(start[i])));

    // And what llama.cpp would decode is s·Q to the bit.
    const out = path.join(place, `${scaleFormat}.gguf`);
    const exported = await exportRun({ run: own, format: 'gguf', out });
    assert.equal(exported.exact, true);
    const { tensors } = await readGguf(out);
    const codes = (await readTensor(path.join(own, 'merged.safetensors'), `${name}.codes`)) as Uint8Array;
    const perRow = scales.length / 512;
    const expected = Float32Array.from({ length: 512 * 192 }, (_, i) => {
      const code = (codes[Math.floor(i / 4)]! >> (2 * (i % 4))) & 3;
      return Number(scales[Math.floor((i * perRow) / 192)]) * (code - 2);
    });
    assert.deepEqual(tensors.get('blk.1.ffn_up.weight')!.values, expected);
  }
});
