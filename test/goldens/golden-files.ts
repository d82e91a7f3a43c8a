// Golden folders: an index.json and safetensors files. The folder is test/goldens/data unless LRQAT_GOLDENS names another of
// the same layout (`npm run test:goldens -- DIR`).

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly data: Float32Array | Int32Array | Int16Array | Int8Array | Uint8Array;
}

export function goldenFolder(name: string): string {
  return join(process.env['LRQAT_GOLDENS'] ?? 'test/goldens/data', name);
}

/** Null when this folder has no such goldens. */
export function readGoldenIndex<T>(folder: string, file = 'index.json'): T | null {
  const path = join(goldenFolder(folder), file);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as T) : null;
}

/** A plain reader of trusted files, independent of the product's. */
export class GoldenTensors {
  private readonly header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  private readonly bytes: Buffer;
  private readonly start: number;

  constructor(folder: string, file: string) {
    this.bytes = readFileSync(join(goldenFolder(folder), file));
    const length = Number(this.bytes.readBigUInt64LE(0));
    this.start = 8 + length;
    this.header = JSON.parse(this.bytes.toString('utf8', 8, this.start)) as typeof this.header;
  }

  names(): string[] {
    return Object.keys(this.header).filter((name) => name !== '__metadata__');
  }

  has(name: string): boolean {
    return name in this.header;
  }

  get(name: string): GoldenTensor {
    const entry = this.header[name];
    if (!entry) throw new Error(`no golden tensor ${name}`);
    const [begin, end] = entry.data_offsets;
    const copy = new Uint8Array(this.bytes.subarray(this.start + begin, this.start + end)).buffer;
    const arrays = { F32: Float32Array, I32: Int32Array, I16: Int16Array, I8: Int8Array, U8: Uint8Array };
    const Type = arrays[entry.dtype as keyof typeof arrays];
    return { shape: entry.shape, dtype: entry.dtype, data: new Type(copy) };
  }

  floats(name: string): Float32Array {
    const { data } = this.get(name);
    if (!(data instanceof Float32Array)) throw new Error(`${name} is not float32`);
    return data;
  }

  ints(name: string): Int32Array {
    const { data } = this.get(name);
    if (!(data instanceof Int32Array)) throw new Error(`${name} is not int32`);
    return data;
  }
}
