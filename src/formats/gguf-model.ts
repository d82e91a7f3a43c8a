// A merged decoder as one GGUF file that llama.cpp runs without any other: which type each tensor gets, and what that loses.
import { BLOCK_TYPES, blockObstacle, packRows, type BlockType, type BlockTypeName } from './gguf-blocks';
import { FLOAT_TYPES, type GgufMetadata, type GgufTensor, type GgufValue } from './gguf-file';
import { ropeFactors, shapeMetadata, shapeObstacle, shapeWarnings, string, u32 } from './gguf-metadata';
import { ggufArchitecture, ggufRowOrder, ggufTensorName } from './gguf-names';
import { float32ToFp16 } from './half';
import {
  dequantized,
  parameter,
  parameterLoss,
  PART_BYTES,
  productLoss,
  productsFit,
  quantizedWeight,
  scaleLoss,
  type MergedModel,
} from './merged-model';
import type { TensorSource, WeightDType } from './model-shape';
import type { QuantizedTensor } from './quantized-tensor';
import type { Loss, TensorExport } from './tensor-export';

export type GgufType = BlockTypeName | WeightDType;
export const GGUF_TYPES: readonly GgufType[] = [...BLOCK_TYPES.map(({ name }) => name), 'F32', 'F16', 'BF16'];

export interface GgufOptions {
  /** Of the quantized linears whose integers and widths allow it; else, and with null, the smallest that holds them. */
  readonly type: GgufType | null;
  /** Of embedding, head and linears that are not quantized; null: as in the model. */
  readonly floatType: WeightDType | null;
  readonly name: string;
  /** Pairs of the tokenizer, and what else is known: licence, source. */
  readonly pairs: readonly (readonly [string, GgufValue])[];
}

export interface GgufFile {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly GgufTensor[];
  readonly exports: readonly TensorExport[];
  readonly warnings: readonly string[];
}

/** Why no GGUF file can be made of a model; null: it can. */
export const ggufObstacle = shapeObstacle;

/** Describes the file; {@link writeGguf} writes it. Reads all scales. */
export async function planGguf(model: MergedModel, options: GgufOptions): Promise<GgufFile> {
  const tensors: GgufTensor[] = [];
  const exports: TensorExport[] = [];
  let largest: { readonly fileType: number; readonly bytes: number } | null = null;
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    const rows = ggufRowOrder(model.shape, source.name);
    const chosen = linear === null ? await floatTensor(source, rows, options) : await quantized(linear, rows, options);
    const { bytes, type, data } = chosen;
    tensors.push({ name: ggufTensorName(source.name), shape: source.shape, bytes, type, data });
    exports.push({ name: source.name, stored: chosen.stored, bytes, loss: chosen.loss });
    if (linear !== null && bytes >= (largest?.bytes ?? 0)) largest = { fileType: chosen.fileType, bytes };
  }
  const factors = ropeFactors(model.shape);
  if (factors !== null) tensors.push(factorsTensor(factors));
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', string(ggufArchitecture(model.shape))],
    ['general.type', string('model')],
    ['general.name', string(options.name)],
    ['general.file_type', u32(largest?.fileType ?? 0)],
    ['general.quantization_version', u32(2)],
    ...shapeMetadata(model.shape),
    ...options.pairs,
  ]);
  return { metadata, tensors, exports, warnings: shapeWarnings(model.shape) };
}

interface Chosen {
  readonly stored: GgufType;
  readonly type: number;
  readonly fileType: number;
  readonly bytes: number;
  readonly loss: Loss | null;
  readonly data: () => AsyncIterable<Uint8Array>;
}

/** `general.file_type` of files without blocks. */
const FLOAT_FILE_TYPE: Readonly<Record<WeightDType, number>> = { F32: 0, F16: 1, BF16: 32 };

async function quantized(tensor: QuantizedTensor, rows: Uint32Array | null, options: GgufOptions): Promise<Chosen> {
  const { type: wanted } = options;
  const fitting = isFloat(wanted) ? [] : BLOCK_TYPES.filter((type) => blockObstacle(type, tensor) === null);
  const block = fitting.find(({ name }) => name === wanted) ?? fitting[0];
  if (block !== undefined) {
    const loss = scaleLoss(await tensor.scales(), 'fp16');
    const bytes = (tensor.outputs * tensor.inputs * block.bytes) / block.weights;
    return {
      stored: block.name,
      type: block.id,
      fileType: block.fileType,
      bytes,
      loss,
      data: () => blocks(tensor, block, rows),
    };
  }
  // What has no blocks: 16 bits where they lose nothing, else 32.
  const type = isFloat(wanted) ? wanted : (await productsFit(tensor, 'fp16')) ? 'F16' : 'F32';
  const half = type === 'F16' ? 'fp16' : 'bf16';
  const loss = type === 'F32' ? null : await productLoss(tensor, half);
  const bytes = tensor.outputs * tensor.inputs * FLOAT_TYPES[type].bytes;
  return {
    stored: type,
    type: FLOAT_TYPES[type].id,
    fileType: FLOAT_FILE_TYPE[type],
    bytes,
    loss,
    data: () => dequantized(tensor, type, rows),
  };
}

function isFloat(type: GgufType | null): type is WeightDType {
  return type === 'F32' || type === 'F16' || type === 'BF16';
}

async function* blocks(tensor: QuantizedTensor, type: BlockType, order: Uint32Array | null): AsyncIterable<Uint8Array> {
  const codes = await tensor.codes();
  const scales = float32ToFp16(await tensor.scales());
  const zeroPoints = (await tensor.zeroPoints?.()) ?? null;
  const rows = order ?? Uint32Array.from({ length: tensor.outputs }, (_, i) => i);
  const rowBytes = (tensor.inputs / type.weights) * type.bytes;
  const rowsAtOnce = Math.max(1, Math.floor(PART_BYTES / rowBytes));
  const buffer = new ArrayBuffer(Math.ceil((rowsAtOnce * rowBytes) / 4) * 4);
  for (let begin = 0; begin < rows.length; begin += rowsAtOnce) {
    yield packRows({ type, tensor, codes, scales, zeroPoints }, rows.subarray(begin, begin + rowsAtOnce), buffer);
  }
}

async function floatTensor(source: TensorSource, rows: Uint32Array | null, options: GgufOptions): Promise<Chosen> {
  // llama.cpp wants vectors (norms, biases) in float32.
  const type = source.shape.length < 2 ? 'F32' : (options.floatType ?? source.dtype);
  const loss = await parameterLoss(source, type);
  const count = source.shape.reduce((a, b) => a * b, 1);
  return {
    stored: type,
    type: FLOAT_TYPES[type].id,
    fileType: FLOAT_FILE_TYPE[type],
    bytes: count * FLOAT_TYPES[type].bytes,
    loss,
    data: () => parameter(source, type, rows),
  };
}

function factorsTensor(factors: Float32Array): GgufTensor {
  const bytes = new Uint8Array(factors.buffer);
  return {
    name: 'rope_freqs.weight',
    type: FLOAT_TYPES.F32.id,
    shape: [factors.length],
    bytes: bytes.length,
    // eslint-disable-next-line @typescript-eslint/require-await -- as long as an array in memory
    data: async function* () {
      yield bytes;
    },
  };
}
