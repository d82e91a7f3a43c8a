// Reading safetensors files: the header is read and checked, tensors are read one by one at their offsets, never the whole file.
import { open, stat, type FileHandle } from 'node:fs/promises';
import { endianness } from 'node:os';
import { systemErrorCode, UserError } from '../errors';
import { bf16ToFloat32, fp16ToFloat32 } from './half';
import { arrayOf, type SafetensorsDType, type TensorArray } from './safetensors-dtype';
import {
  invalid,
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
  type SafetensorsTensor,
} from './safetensors-header';
import { quote } from './show-value';

/** Reads and checks the header of a safetensors file. */
export async function readHeader(file: string): Promise<SafetensorsHeader> {
  const opened = await SafetensorsFile.open(file);
  await opened.close();
  return opened.header;
}

/** One tensor of a file, as {@link SafetensorsFile.readTensor}. */
export async function readTensor(file: string, name: string): Promise<TensorArray> {
  const opened = await SafetensorsFile.open(file);
  try {
    return await opened.readTensor(name);
  } finally {
    await opened.close();
  }
}

/** An open safetensors file with a checked header. Close it when done. */
export class SafetensorsFile {
  readonly path: string;
  readonly header: SafetensorsHeader;
  /** Of the whole file, when it was opened. */
  readonly bytes: number;
  private readonly handle: FileHandle;

  private constructor(path: string, header: SafetensorsHeader, bytes: number, handle: FileHandle) {
    this.path = path;
    this.header = header;
    this.bytes = bytes;
    this.handle = handle;
  }

  /** @throws UserError FileMissing, FileUnreadable or SafetensorsInvalid */
  static async open(file: string): Promise<SafetensorsFile> {
    const handle = await openForReading(file);
    try {
      const { size } = await handle.stat();
      const length = parseHeaderLength(await readAt(handle, 0, Math.min(LENGTH_BYTES, size), file), size, file);
      const header = parseHeader(await readAt(handle, LENGTH_BYTES, length, file), size, file);
      return new SafetensorsFile(file, header, size, handle);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get tensors(): ReadonlyMap<string, SafetensorsTensor> {
    return this.header.tensors;
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata;
  }

  /** The tensor's place, type and shape.
   *  @throws UserError TensorMissing */
  info(name: string): SafetensorsTensor {
    const tensor = this.header.tensors.get(name);
    if (tensor === undefined) {
      throw new UserError('TensorMissing', `${this.path}: has no tensor ${quote(name)}`);
    }
    return tensor;
  }

  /** Elements as they lie in the file: Float32Array for F32, raw bits in Uint16Array for F16 and BF16, BigInt64Array for I64, …
   *  Row-major, shape as in {@link info}. */
  async readTensor(name: string): Promise<TensorArray> {
    const tensor = this.info(name);
    return this.elements(tensor, tensor.dtype);
  }

  /** {@link readTensor} for a caller that knows the type.
   *  @throws UserError TensorType when the file has another one */
  async readTensorAs<D extends SafetensorsDType>(name: string, dtype: D): Promise<TensorArray<D>> {
    const tensor = this.info(name);
    if (tensor.dtype !== dtype) {
      throw new UserError('TensorType', `${this.path}: tensor ${quote(name)} is ${tensor.dtype}, expected ${dtype}`);
    }
    return this.elements(tensor, dtype);
  }

  /** F32, BF16, F16 or F64 as float32 (F64 rounded).
   *  @throws UserError TensorType for other types */
  async readFloat32(name: string): Promise<Float32Array> {
    const tensor = this.info(name);
    switch (tensor.dtype) {
      case 'F32':
        return this.elements(tensor, tensor.dtype);
      case 'BF16':
        return bf16ToFloat32(await this.elements(tensor, tensor.dtype));
      case 'F16':
        return fp16ToFloat32(await this.elements(tensor, tensor.dtype));
      case 'F64':
        return Float32Array.from(await this.elements(tensor, tensor.dtype));
      default:
        throw new UserError(
          'TensorType',
          `${this.path}: tensor ${quote(name)} is ${tensor.dtype}, expected a floating-point type`,
        );
    }
  }

  /** Bytes of a tensor from `begin` to `end` (exclusive), counted from its first byte; of all of it without them. */
  async readBytes(name: string, begin = 0, end?: number): Promise<Uint8Array> {
    const tensor = this.info(name);
    const last = end ?? tensor.bytes;
    if (begin < 0 || begin > last || last > tensor.bytes) {
      throw new RangeError(`bytes ${String(begin)}…${String(last)} of a tensor of ${String(tensor.bytes)}`);
    }
    return readAt(this.handle, tensor.offset + begin, last - begin, this.path);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private async elements<D extends SafetensorsDType>(tensor: SafetensorsTensor, dtype: D): Promise<TensorArray<D>> {
    if (endianness() !== 'LE') throw new Error('safetensors files are little-endian; this machine is not');
    const bytes = await readAt(this.handle, tensor.offset, tensor.bytes, this.path);
    return arrayOf(dtype, bytes.buffer);
  }
}

async function openForReading(file: string): Promise<FileHandle> {
  try {
    // Before opening: opening a pipe waits for its writer.
    if (!(await stat(file)).isFile()) throw new UserError('FileUnreadable', `${file}: not a file`);
    return await open(file, 'r');
  } catch (error) {
    if (error instanceof UserError) throw error;
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new UserError('FileMissing', `${file}: no such file`, { cause: error });
    }
    throw new UserError('FileUnreadable', `${file}: cannot be opened (${code ?? String(error)})`, { cause: error });
  }
}

/** Linux reads at most 2 GiB − 4 KiB a call; a smaller step also keeps the thread pool fair. */
const READ_STEP = 1 << 28;

async function readAt(
  handle: FileHandle,
  position: number,
  length: number,
  file: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const buffer = new Uint8Array(new ArrayBuffer(length));
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(buffer, done, Math.min(READ_STEP, length - done), position + done);
    if (bytesRead === 0) throw invalid(file, `ended at byte ${String(position + done)} while it was read`);
    done += bytesRead;
  }
  return buffer;
}
