// Drives the real engine on golden models: writes their weights as a safetensors file in a temporary folder and opens it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineConfig, LinearQuantization, LrqatAddon } from '../../native/binding/addon';
import { linearNames, type ModelShape, type TensorSource } from '../../src/formats/model-shape';
import { testDevice } from '../engine/device';

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The native addon under test. */
export function openAddon(): LrqatAddon {
  const module: { exports: unknown } = { exports: {} };
  process.dlopen(module, process.env['LRQAT_NATIVE'] ?? join(process.cwd(), 'build/Release/lrqat.node'));
  return module.exports as LrqatAddon;
}

export class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'lrqat-test-'));
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Writes `tensors` as float32 safetensors and says where each lies. */
export function writeCheckpoint(folder: string, tensors: readonly NamedTensor[]): TensorSource[] {
  const header: Record<string, { dtype: string; shape: readonly number[]; data_offsets: [number, number] }> = {};
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (json.length % 8)) % 8);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.length));
  const file = join(folder, 'model.safetensors');
  writeFileSync(
    file,
    Buffer.concat([
      prefix,
      Buffer.from(json),
      ...tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
    ]),
  );
  return tensors.map(({ name, shape, data }) => {
    const entry = header[name];
    assert.ok(entry);
    return {
      name,
      file,
      offset: 8 + json.length + entry.data_offsets[0],
      bytes: data.byteLength,
      dtype: 'F32',
      shape,
    };
  });
}

/** An engine configuration in float32 on one thread; `quantization` applies to every linear. */
export function goldenConfig(
  model: ModelShape,
  tensors: TensorSource[],
  batch: { sequences: number; length: number },
  quantization: LinearQuantization | null,
  overrides: Partial<EngineConfig> = {},
): EngineConfig {
  return {
    model,
    tensors,
    linears: Object.fromEntries(linearNames(model).map((name) => [name, quantization])),
    compute: 'float32',
    threads: 1,
    oneDnn: null,
    training: true,
    microBatchSize: batch.sequences,
    sequenceLength: batch.length,
    activationCheckpointing: 'none',
    seed: 1,
    plan: null,
    ...testDevice(),
    ...overrides,
  };
}

/** Next-token targets within each sequence; the last position is not predicted. */
export function shiftedTargets(tokens: Int32Array, length: number): Int32Array {
  return Int32Array.from(tokens, (_, i) => (i % length === length - 1 ? -1 : (tokens[i + 1] ?? -1)));
}

/** Largest absolute difference, and the same divided by the largest magnitude of `expected`. */
export function difference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): { absolute: number; relative: number } {
  assert.equal(actual.length, expected.length);
  let absolute = 0;
  let magnitude = 0;
  for (let i = 0; i < expected.length; i++) {
    const delta = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN));
    if (!(delta <= absolute)) absolute = delta; // NaN sticks
    magnitude = Math.max(magnitude, Math.abs(expected[i] ?? 0));
  }
  return { absolute, relative: magnitude === 0 ? absolute : absolute / magnitude };
}
