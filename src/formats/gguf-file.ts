// The GGUF container, version 3: key-value pairs, descriptions of tensors, tensor data. Written as a stream in one pass, since all
// sizes are known before the first byte of data (specification: docs/gguf.md of ggml).
import { atomicWriteFile } from './atomic-file';
import type { FileSystem } from './file-system';

export type GgufValue =
  | { readonly type: 'u32'; readonly value: number }
  | { readonly type: 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s'; readonly value: Int32Array }
  | { readonly type: 'f32s'; readonly value: Float32Array };

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** Types without blocks, with their numbers in ggml_type. */
export const FLOAT_TYPES = {
  F32: { id: 0, bytes: 4 },
  F16: { id: 1, bytes: 2 },
  BF16: { id: 30, bytes: 2 },
} as const;

export interface GgufTensor {
  readonly name: string;
  /** Of ggml_type. */
  readonly type: number;
  /** Row-major as everywhere here, [outputs, inputs]; the file lists them in reverse. */
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Called once, when the tensor's turn comes. A part need be valid only until the next is asked for. */
  readonly data: () => AsyncIterable<Uint8Array>;
}

const VERSION = 3;
/** Data of a tensor begin at a multiple of it; the format's default. */
const ALIGNMENT = 32;

/** Writes a file atomically.
 *  @throws RangeError when a tensor's data are not as long as announced; nothing is left behind then. */
export async function writeGguf(
  file: string,
  metadata: GgufMetadata,
  tensors: readonly GgufTensor[],
  fileSystem?: FileSystem,
): Promise<void> {
  await atomicWriteFile(file, fileParts(metadata, tensors), fileSystem);
}

/** Bytes of the whole file. */
export function ggufSize(metadata: GgufMetadata, tensors: readonly GgufTensor[]): number {
  return header(metadata, tensors).length + tensors.reduce((sum, { bytes }) => sum + aligned(bytes), 0);
}

async function* fileParts(metadata: GgufMetadata, tensors: readonly GgufTensor[]): AsyncIterable<Uint8Array> {
  yield header(metadata, tensors);
  for (const { name, bytes, data } of tensors) {
    let written = 0;
    for await (const part of data()) {
      written += part.length;
      if (written > bytes) break;
      yield part;
    }
    if (written !== bytes) {
      throw new RangeError(
        `tensor ${name}: ${written > bytes ? 'more than ' : `${String(written)} of `}${String(bytes)} bytes were given`,
      );
    }
    if (aligned(bytes) > bytes) yield new Uint8Array(aligned(bytes) - bytes);
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function header(metadata: GgufMetadata, tensors: readonly GgufTensor[]): Uint8Array {
  const out = new Bytestream();
  out.text('GGUF');
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    writeValue(out, value);
  }
  let offset = 0;
  const names = new Set<string>();
  for (const { name, type, shape, bytes } of tensors) {
    if (names.has(name)) throw new RangeError(`tensor name ${name} is given twice`);
    names.add(name);
    out.string(name);
    out.u32(shape.length);
    for (const size of shape.toReversed()) out.u64(size);
    out.u32(type);
    out.u64(offset);
    offset += aligned(bytes);
  }
  out.pad(ALIGNMENT);
  return out.bytes();
}

/** Numbers of gguf_metadata_value_type. */
const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

function writeValue(out: Bytestream, value: GgufValue): void {
  switch (value.type) {
    case 'u32':
      out.u32(VALUE_TYPES.u32);
      out.u32(value.value);
      return;
    case 'f32':
      out.u32(VALUE_TYPES.f32);
      out.f32(value.value);
      return;
    case 'bool':
      out.u32(VALUE_TYPES.bool);
      out.u8(value.value ? 1 : 0);
      return;
    case 'string':
      out.u32(VALUE_TYPES.string);
      out.string(value.value);
      return;
    case 'strings':
      out.array(VALUE_TYPES.string, value.value.length);
      for (const text of value.value) out.string(text);
      return;
    case 'i32s':
      out.array(VALUE_TYPES.i32, value.value.length);
      for (const number of value.value) out.u32(number);
      return;
    case 'f32s':
      out.array(VALUE_TYPES.f32, value.value.length);
      for (const number of value.value) out.f32(number);
      return;
  }
}

/** Little-endian bytes that grow. */
class Bytestream {
  private buffer = Buffer.alloc(1 << 16);
  private length = 0;

  bytes(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
  u8(value: number): void {
    this.room(1);
    this.length = this.buffer.writeUInt8(value, this.length);
  }
  u32(value: number): void {
    this.room(4);
    this.length = this.buffer.writeUInt32LE(value >>> 0, this.length);
  }
  u64(value: number): void {
    this.room(8);
    this.length = this.buffer.writeBigUInt64LE(BigInt(value), this.length);
  }
  f32(value: number): void {
    this.room(4);
    this.length = this.buffer.writeFloatLE(value, this.length);
  }
  text(value: string): void {
    const size = Buffer.byteLength(value);
    this.room(size);
    this.length += this.buffer.write(value, this.length);
  }
  string(value: string): void {
    this.u64(Buffer.byteLength(value));
    this.text(value);
  }
  array(elementType: number, count: number): void {
    this.u32(VALUE_TYPES.array);
    this.u32(elementType);
    this.u64(count);
  }
  pad(multiple: number): void {
    const size = (multiple - (this.length % multiple)) % multiple;
    this.room(size);
    this.buffer.fill(0, this.length, this.length + size);
    this.length += size;
  }

  private room(size: number): void {
    if (this.length + size <= this.buffer.length) return;
    const larger = Buffer.alloc(Math.max(2 * this.buffer.length, this.length + size));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}
