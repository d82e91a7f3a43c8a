// Our exports in Python programs (oracle.py): transformers, the gguf package, unpackers in numpy. LRQAT_PYTHON names an interpreter
// that has torch, transformers, gguf and safetensors; without it nothing runs. Numbers are printed: they are the measurement.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { openModel, openTokenizer } from '../../src/formats';
import { exportRun, type ExportOptions } from '../../src/trainer/export/export-run';
import { ourLogits, proseOf, roundedRun, type Weights } from './support';

const PYTHON = process.env['LRQAT_PYTHON'];
const skip = PYTHON === undefined ? 'LRQAT_PYTHON names no interpreter' : false;
const DATA = path.resolve('../shared/data');
const noData = existsSync(DATA) ? skip : 'the folder ../shared/data with real models and texts is absent';
const SAMPLE = path.resolve('samples/first-run/model');
const SAMPLE_TEXT = path.resolve('samples/first-run/validation.txt');

let folder: string;
before(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-python-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

async function oracle(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(PYTHON ?? '', ['test/clients/oracle.py', ...args], {
    env: { ...process.env, HF_HUB_OFFLINE: '1', PYTHONDONTWRITEBYTECODE: '1' },
  });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
}

async function exported(
  run: string,
  name: string,
  format: ExportOptions['format'],
  options: Pick<ExportOptions, 'type' | 'floatType'> = {},
): Promise<string> {
  const out = path.join(folder, name);
  const { exact, losses } = await exportRun({ run, format, out, force: true, ...options });
  assert.ok(exact, losses.join());
  return out;
}

const MODELS = [
  { name: 'sample', model: SAMPLE, text: SAMPLE_TEXT, skip },
  ...['stories260K', 'stories279K', 'babyllama936K'].map((name) => ({
    name,
    model: path.join(DATA, 'models', name),
    text: path.join(DATA, 'text/tinystories/tinystories_sample.jsonl'),
    skip: noData,
  })),
];

for (const { name, model: modelFolder, text, skip: skipped } of MODELS) {
  test(`${name}: transformers gives our logits from the dequantized folder`, { skip: skipped }, async (t) => {
    const model = await openModel(modelFolder);
    const tokenizer = await openTokenizer(modelFolder, { addonFile: path.resolve('build/Release/lrqat.node') });
    const ids = tokenizer.encode(proseOf(text).slice(0, 20_000)).slice(0, 128);
    const run = await roundedRun(folder, modelFolder, text, { bits: 4, granularity: 'per-channel' });
    const out = await exported(run, name, 'huggingface', { type: 'fp32' });
    const [idsFile, logitsFile] = [path.join(folder, 'ids.json'), path.join(folder, 'logits.f32')];
    writeFileSync(idsFile, JSON.stringify([...ids]));
    writeFileSync(logitsFile, await ourLogits(run, model, ids));
    const found = await oracle('logits', out, idsFile, logitsFile);
    t.diagnostic(JSON.stringify(found));
    // Both compute in float32 and sum in other orders: a few units in the seventh digit of logits up to 30, after some layers.
    assert.ok((found['difference'] as number) < 1e-3);
    assert.equal(found['sameChoice'], true);
  });
}

const zeroPoints = ({ symmetric }: Weights): string => (symmetric === false ? ', zero points' : '');

const BLOCKS: readonly (readonly [type: string, weights: Weights])[] = [
  ['Q2_K', { bits: 2, granularity: 'per-channel', scaleFormat: 'fp16' }],
  ['Q3_K', { bits: 3, granularity: 'per-channel', scaleFormat: 'fp16' }],
  ['Q4_0', { bits: 4, granularity: { group: 32 }, scaleFormat: 'fp16' }],
  ['Q4_1', { bits: 4, granularity: { group: 64 }, scaleFormat: 'bf16' }],
  ['Q4_K', { bits: 4, granularity: 'per-channel', scaleFormat: 'bf16' }],
  ['Q8_0', { bits: 8, granularity: { group: 32 }, scaleFormat: 'fp16' }],
  ['Q2_K', { bits: 2, symmetric: false, granularity: 'per-channel', scaleFormat: 'fp16' }],
  ['Q4_K', { bits: 4, symmetric: false, granularity: 'per-channel', scaleFormat: 'bf16' }],
  ['Q8_0', { bits: 4, symmetric: false, granularity: { group: 32 }, scaleFormat: 'fp16' }],
];

for (const [type, weights] of BLOCKS) {
  test(
    `gguf package: ${type}${zeroPoints(weights)} decodes to the bits of the dequantized folder`,
    { skip },
    async (t) => {
      const run = await roundedRun(folder, SAMPLE, SAMPLE_TEXT, weights);
      const file = await exported(run, `${type}.gguf`, 'gguf', { type });
      const found = await oracle('gguf', file, await exported(run, `${type}-fp32`, 'huggingface', { type: 'fp32' }));
      t.diagnostic(JSON.stringify(found));
      assert.deepEqual(found['differing'], []);
      assert.ok(type in (found['types'] as object));
    },
  );
}

const PACKED: readonly Weights[] = [
  { bits: 2, granularity: { group: 64 }, scaleFormat: 'bf16' },
  { bits: 3, granularity: 'per-channel', scaleFormat: 'bf16' },
  { bits: 4, granularity: { group: 32 }, scaleFormat: 'bf16' },
  { bits: 8, granularity: 'per-channel', scaleFormat: 'bf16' },
  { bits: 2, symmetric: false, granularity: { group: 64 }, scaleFormat: 'bf16' },
  { bits: 4, symmetric: false, granularity: 'per-channel', scaleFormat: 'bf16' },
];

for (const weights of PACKED) {
  const label = `${String(weights.bits)} bits, ${JSON.stringify(weights.granularity)}${zeroPoints(weights)}`;
  for (const [format, command] of [
    ['gptq', 'gptq'],
    ['compressed-tensors', 'compressed'],
  ] as const) {
    test(`numpy: ${format}, ${label}, unpacks to the bits of the dequantized folder`, { skip }, async (t) => {
      const run = await roundedRun(folder, SAMPLE, SAMPLE_TEXT, weights);
      const out = path.join(folder, 'packed');
      await exportRun({ run, format, out, force: true });
      const found = await oracle(command, out, await exported(run, 'fp32', 'huggingface', { type: 'fp32' }));
      t.diagnostic(JSON.stringify(found));
      assert.deepEqual(found['differing'], []);
      assert.ok((found['linears'] as number) > 0);
    });
  }
}
