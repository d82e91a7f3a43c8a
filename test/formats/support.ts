// What the format tests share: temporary folders, raw safetensors bytes, small model folders.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { UserError } from '../../src/errors';
import { modelParameters, parseModelConfig, writeSafetensors, type TensorToWrite } from '../../src/formats';

export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-formats-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file with any header text (or object) and any number of data bytes. */
export function rawSafetensors(header: unknown, dataBytes: number, length?: bigint): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const file = Buffer.alloc(8 + text.length + dataBytes);
  file.writeBigUInt64LE(length ?? BigInt(text.length), 0);
  text.copy(file, 8);
  return file;
}

/** Runs `body`, which must reject with a UserError whose message matches all `patterns`. */
export async function refuses(body: () => unknown, ...patterns: RegExp[]): Promise<UserError> {
  let result: unknown;
  try {
    result = await body();
  } catch (error) {
    assert.ok(error instanceof UserError, `not a UserError: ${String(error)}`);
    for (const pattern of patterns) assert.match(error.message, pattern);
    return error;
  }
  return assert.fail(`was accepted: ${JSON.stringify(result)}`);
}

/** A small LLaMA, valid as it is. */
export const LLAMA = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 32,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
} as const;

type Config = Readonly<Record<string, unknown>>;

/** The tensors that a config asks for, filled with zeros (lm_head with ones, so that it differs from the embedding). */
export function tensorsFor(config: Config, dtype: 'F32' | 'BF16' | 'F16' = 'BF16'): TensorToWrite[] {
  const { shape } = parseModelConfig(config, 'config.json');
  return modelParameters(shape).map(({ name, shape: size }) => {
    const count = size.reduce((a, b) => a * b, 1);
    const data = dtype === 'F32' ? new Float32Array(count) : new Uint16Array(count);
    return { name, dtype, shape: size, data: name === 'lm_head.weight' ? data.fill(1) : data };
  });
}

export function writeJson(file: string, value: unknown): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(value));
}

/** A whole model folder; `tensors` null: without weights. */
export async function writeModel(
  folder: string,
  config: Config,
  tensors: readonly TensorToWrite[] | null = tensorsFor(config),
): Promise<string> {
  writeJson(path.join(folder, 'config.json'), config);
  writeJson(path.join(folder, 'tokenizer.json'), {});
  if (tensors !== null) await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
  return folder;
}

/** The same weights in two shards with an index. */
export async function writeSharded(folder: string, config: Config): Promise<string> {
  await writeModel(folder, config, null);
  const tensors = tensorsFor(config);
  const half = tensors.length >> 1;
  const shards = {
    'model-00001-of-00002.safetensors': tensors.slice(0, half),
    'model-00002-of-00002.safetensors': tensors.slice(half),
  };
  const weightMap: Record<string, string> = {};
  for (const [name, content] of Object.entries(shards)) {
    await writeSafetensors(path.join(folder, name), content);
    for (const tensor of content) weightMap[tensor.name] = name;
  }
  writeJson(path.join(folder, 'model.safetensors.index.json'), { metadata: { total_size: 1 }, weight_map: weightMap });
  return folder;
}

/** Small, fast, seeded: the same numbers on every machine (mulberry32). */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) % below;
  };
}
