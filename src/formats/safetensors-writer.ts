// Writing safetensors files as a stream: names, types and shapes are known first and make the header, then each tensor's
// bytes are asked for when their turn comes. No more than one tensor need be in memory.
import { atomicWriteFile, type Bytes } from './atomic-file';
import { nodeFileSystem, type FileSystem } from './file-system';
import { alignmentOf, byteSize, type SafetensorsDType } from './safetensors-dtype';
import { LENGTH_BYTES, MAX_HEADER_BYTES } from './safetensors-header';

/** Elements in row-major order, in this machine's (little-endian) bytes. */
export type TensorData = ArrayBufferView;

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** The data, or a function that is called once, when the tensor's turn comes; parts are written in the order given, each
   *  before the next is asked for. */
  readonly data: TensorData | (() => TensorData | Promise<TensorData> | AsyncIterable<TensorData>);
}

export interface WriteSafetensorsOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fileSystem?: FileSystem;
}

/** Writes a file atomically ({@link atomicWriteFile}). Tensors are laid out by falling element size and else in the order given,
 *  so that each begins at a multiple of its element size; the data begin at a multiple of 8. The same input gives the same bytes.
 *  @throws RangeError when a tensor's data are not as long as its shape says; nothing is left behind then. */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<TensorToWrite> | AsyncIterable<TensorToWrite>,
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const list: TensorToWrite[] = [];
  for await (const tensor of tensors) list.push(tensor);
  const ordered = list.sort((one, other) => alignmentOf(other.dtype) - alignmentOf(one.dtype));
  const header = buildHeader(ordered, options.metadata ?? {});
  await atomicWriteFile(file, fileParts(header, ordered), options.fileSystem ?? nodeFileSystem);
}

async function* fileParts(header: Uint8Array, tensors: readonly TensorToWrite[]): AsyncIterable<Bytes> {
  yield header;
  for (const tensor of tensors) {
    const expected = sizeOf(tensor);
    let written = 0;
    for await (const part of tensorParts(tensor)) {
      const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
      written += bytes.length;
      if (written > expected) break;
      yield bytes;
    }
    if (written !== expected) {
      throw new RangeError(
        `tensor ${tensor.name}: ${written > expected ? 'more than ' : `${String(written)} of `}${String(expected)} bytes were given`,
      );
    }
  }
}

async function* tensorParts(tensor: TensorToWrite): AsyncIterable<TensorData> {
  if (typeof tensor.data !== 'function') {
    yield tensor.data;
    return;
  }
  const data = tensor.data();
  if (Symbol.asyncIterator in data) yield* data;
  else yield await data;
}

/** Header length and header, padded with spaces so that what follows begins at a multiple of 8. */
function buildHeader(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  // fromEntries keeps a tensor called __proto__ an own property like any other.
  const entries: [string, unknown][] = [];
  const names = new Set<string>(['__metadata__']);
  if (Object.keys(metadata).length > 0) entries.push(['__metadata__', metadata]);
  let offset = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name)) throw new RangeError(`tensor name ${tensor.name} is given twice or reserved`);
    names.add(tensor.name);
    const end = offset + sizeOf(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)), 'utf8');
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES) throw new RangeError(`header of ${String(padded)} bytes is above the format's limit`);
  const header = Buffer.alloc(LENGTH_BYTES + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, LENGTH_BYTES);
  return header;
}

function sizeOf({ name, dtype, shape }: TensorToWrite): number {
  const bytes = shape.every((size) => Number.isSafeInteger(size) && size >= 0) ? byteSize(dtype, shape) : null;
  if (bytes === null)
    throw new RangeError(`tensor ${name}: shape [${shape.join(', ')}] of ${dtype} has no size in bytes`);
  return bytes;
}
