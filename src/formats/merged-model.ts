// A decoder whose linears are merged: what every export format is written from, tensor by tensor.
import { packedWords, quadsPerRow, unpackQuads } from './code-quads';
import {
  bf16Bits,
  bf16ToFloat32,
  bitsFitHalf,
  fitsHalf,
  float32Bits,
  float32ToBf16,
  float32ToFp16,
  fp16Bits,
  fp16ToFloat32,
} from './half';
import type { ModelShape, TensorSource, WeightDType } from './model-shape';
import { columnsPerScale, packedRowBytes, scalesPerRow, type QuantizedTensor } from './quantized-tensor';
import { SafetensorsFile } from './safetensors-file';
import type { Loss } from './tensor-export';

export interface MergedModel {
  readonly shape: ModelShape;
  /** Parameters as the model folder holds them, in model order. */
  readonly tensors: readonly TensorSource[];
  /** By name of the linear, without `.weight`. */
  readonly quantized: ReadonlyMap<string, QuantizedTensor>;
}

/** The merged linear that a parameter is the weight of. */
export function quantizedWeight({ quantized }: MergedModel, { name }: TensorSource): QuantizedTensor | null {
  return (name.endsWith('.weight') ? quantized.get(name.slice(0, -'.weight'.length)) : undefined) ?? null;
}

const TYPE_NAMES = { fp16: 'half precision (fp16)', bf16: 'bfloat16' } as const;

/** What rounding them to 16 bits does to the scales of a linear; null: nothing. */
export function scaleLoss(scales: Float32Array, type: 'fp16' | 'bf16'): Loss | null {
  let count = 0;
  let largestError = 0;
  const words = float32Bits(scales);
  // An iterator over entries would cost more than the test.
  for (let i = 0; i < scales.length; i++) {
    if (bitsFitHalf(words[i] ?? 0, type)) continue;
    const scale = scales[i] ?? 0;
    count++;
    const one = Float32Array.of(scale);
    const rounded = type === 'fp16' ? fp16ToFloat32(float32ToFp16(one)) : bf16ToFloat32(float32ToBf16(one));
    largestError = Math.max(largestError, Math.abs(((rounded[0] ?? 0) - scale) / scale));
  }
  const what = `scales are rounded to ${TYPE_NAMES[type]}`;
  return count === 0 ? null : { rounds: 'scales', to: type, what, count, of: scales.length, largestError };
}

/** What rounding to 16 bits does to the products s · Q of a linear; null: nothing. */
export async function productLoss(tensor: QuantizedTensor, type: 'fp16' | 'bf16'): Promise<Loss | null> {
  if (await productsFit(tensor, type)) return null;
  const what = `products s·Q are rounded to ${TYPE_NAMES[type]}`;
  return { rounds: 'products', to: type, what, count: null, of: 0, largestError: null };
}

/** Whether all s · q of a linear's scales and integers are numbers of a 16-bit type. With zero points the integers Q − z that could
 *  be are taken, twice as many. */
export async function productsFit(tensor: QuantizedTensor, type: 'fp16' | 'bf16'): Promise<boolean> {
  const scales = await tensor.scales();
  const end = 2 ** (tensor.bits - (tensor.zeroPoints === undefined ? 1 : 0));
  // Even multiples have the fraction of their half.
  const odd = Array.from({ length: end / 2 }, (_, i) => 2 * i + 1);
  return scales.every((scale) => fitsHalf(scale * -end, type) && odd.every((q) => fitsHalf(scale * q, type)));
}

/** Bytes handed on at a time: what is made stays in the processor's cache until it is hashed and written. */
export const PART_BYTES = 1 << 20;

/** Ŵ = s ∘ Q of a linear in row-major order, rounded once to float32 and once more to `type`; parts of whole rows, each
 *  valid until the next is asked for.
 *  @param rows indices in the order wanted; all in order without them */
export async function* dequantized(
  tensor: QuantizedTensor,
  type: WeightDType,
  rows: ArrayLike<number> | null = null,
): AsyncIterable<Uint8Array> {
  const [words, scales] = [packedWords(await tensor.codes()), await tensor.scales()];
  const { outputs, inputs, bits } = tensor;
  const rowWords = packedRowBytes(bits, inputs) / 4;
  const perRow = scalesPerRow(tensor);
  const quads = new Uint32Array(quadsPerRow(inputs));
  const write = rowWriter(tensor, type, quads, (await tensor.zeroPoints?.()) ?? null);
  const bytes = inputs * (type === 'F32' ? 4 : 2);
  const rowsAtOnce = Math.max(1, Math.floor(PART_BYTES / bytes));
  const buffer = new ArrayBuffer(rowsAtOnce * bytes);
  for (let begin = 0; begin < outputs; begin += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, outputs - begin);
    for (let i = 0; i < count; i++) {
      const index = rows === null ? begin + i : (rows[begin + i] ?? 0);
      unpackQuads(words, index * rowWords, bits, 0, quads);
      write(scales, index * perRow, buffer, i * inputs);
    }
    yield new Uint8Array(buffer, 0, count * bytes);
  }
}

/** Writes a row's products to element `at` of a buffer, with the scales from `group` on. */
type RowWriter = (scales: Float32Array, group: number, into: ArrayBuffer, at: number) => void;

/** @param quads codes of the row that is to be written, four to a word, whenever the writer is called */
function rowWriter(
  tensor: QuantizedTensor,
  type: WeightDType,
  quads: Uint32Array,
  zeroPoints: Uint8Array | null,
): RowWriter {
  const { inputs, bits } = tensor;
  const codes = new Uint8Array(quads.buffer);
  const columns = columnsPerScale(tensor);
  const middle = 2 ** (bits - 1);
  const offsetOf = (group: number): number => (zeroPoints === null ? middle : (zeroPoints[group] ?? 0));
  const writeFloats = (scales: Float32Array, group: number, values: Float32Array): void => {
    for (let first = 0; first < inputs; first += columns, group++) {
      const scale = scales[group] ?? 0;
      const offset = offsetOf(group);
      for (let k = first; k < first + columns; k++) values[k] = scale * ((codes[k] ?? 0) - offset);
    }
  };
  if (type === 'F32') {
    return (scales, group, into, at) => writeFloats(scales, group, new Float32Array(into, 4 * at, inputs));
  }
  const rounded = type === 'F16' ? float32ToFp16 : float32ToBf16;
  if (2 * middle > columns) {
    // More integers than columns that share a scale: a table would cost more than it spares.
    const row = new Float32Array(inputs);
    return (scales, group, into, at) => {
      writeFloats(scales, group, row);
      new Uint16Array(into, 2 * at, inputs).set(rounded(row));
    };
  }
  const table = new Uint16Array(2 * middle);
  const bitsOf = type === 'F16' ? fp16Bits : bf16Bits;
  const prepare = (scale: number, offset: number): void => {
    for (let code = 0; code < table.length; code++) table[code] = bitsOf(scale * (code - offset));
  };
  if (columns % 4 === 0) {
    return (scales, group, into, at) => {
      const pairs = new Uint32Array(into, 2 * at, inputs / 2);
      for (let first = 0; first < inputs / 4; first += columns / 4, group++) {
        prepare(scales[group] ?? 0, offsetOf(group));
        writeProducts(quads, first, first + columns / 4, table, pairs);
      }
    };
  }
  return (scales, group, into, at) => {
    const values = new Uint16Array(into, 2 * at, inputs);
    for (let first = 0; first < inputs; first += columns, group++) {
      prepare(scales[group] ?? 0, offsetOf(group));
      for (let k = first; k < first + columns; k++) values[k] = table[codes[k] ?? 0] ?? 0;
    }
  };
}

/** Looks up four codes at a time, words `begin` to `end`. */
function writeProducts(quads: Uint32Array, begin: number, end: number, table: Uint16Array, pairs: Uint32Array): void {
  for (let k = begin; k < end; k++) {
    const quad = quads[k] ?? 0;
    pairs[2 * k] = (table[quad & 0xff] ?? 0) | ((table[(quad >>> 8) & 0xff] ?? 0) << 16);
    pairs[2 * k + 1] = (table[(quad >>> 16) & 0xff] ?? 0) | ((table[quad >>> 24] ?? 0) << 16);
  }
}

/** A parameter as the model folder has it, converted to `type`.
 *  @param rows indices of its rows (of its elements, for a vector) in the order wanted */
export async function* parameter(
  source: TensorSource,
  type: WeightDType,
  rows: ArrayLike<number> | null = null,
): AsyncIterable<Uint8Array> {
  const file = await SafetensorsFile.open(source.file);
  try {
    const step = rows === null ? PART_BYTES : source.bytes;
    for (let begin = 0; begin < source.bytes; begin += step) {
      const bytes = await file.readBytes(source.name, begin, Math.min(source.bytes, begin + step));
      const ordered = rows === null ? bytes : inOrder(bytes, rows, source.bytes / (source.shape[0] ?? 1));
      yield source.dtype === type ? ordered : inType(floats(ordered, source.dtype), type);
    }
  } finally {
    await file.close();
  }
}

/** What another type does to a parameter; null: nothing. Reads it when that is not clear from the types. */
export async function parameterLoss(source: TensorSource, type: WeightDType): Promise<Loss | null> {
  if (type === 'F32' || type === source.dtype) return null;
  const half = type === 'F16' ? 'fp16' : 'bf16';
  let count = 0;
  let of = 0;
  for await (const part of parameter(source, 'F32')) {
    const values = new Float32Array(part.buffer, part.byteOffset, part.length / 4);
    of += values.length;
    for (const word of float32Bits(values)) if (!bitsFitHalf(word, half)) count++;
  }
  const what = `unquantized numbers are rounded to ${TYPE_NAMES[half]}`;
  return count === 0 ? null : { rounds: 'numbers', to: half, what, count, of, largestError: null };
}

function inOrder(bytes: Uint8Array, rows: ArrayLike<number>, rowBytes: number): Uint8Array {
  const ordered = new Uint8Array(bytes.length);
  for (let i = 0; i < rows.length; i++) {
    const from = (rows[i] ?? 0) * rowBytes;
    ordered.set(bytes.subarray(from, from + rowBytes), i * rowBytes);
  }
  return ordered;
}

function floats(bytes: Uint8Array, type: WeightDType): Float32Array {
  if (type === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  return type === 'F16' ? fp16ToFloat32(bits) : bf16ToFloat32(bits);
}

function inType(values: Float32Array, type: WeightDType): Uint8Array {
  const view = type === 'F32' ? values : type === 'F16' ? float32ToFp16(values) : float32ToBf16(values);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
