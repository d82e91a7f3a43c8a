// What exports to a Hugging Face folder have in common: tensors for model.safetensors and what changes in config.json.
import { float32ToBf16, float32ToFp16 } from './half';
import { parameter, parameterLoss, scaleLoss, type MergedModel } from './merged-model';
import type { TensorSource, WeightDType } from './model-shape';
import { scalesPerRow, type QuantizedTensor } from './quantized-tensor';
import type { TensorToWrite } from './safetensors-writer';
import type { Loss, TensorExport } from './tensor-export';

export interface FolderContents {
  /** Why the format cannot hold this model; null: it can. */
  readonly obstacle: string | null;
  readonly tensors: readonly TensorToWrite[];
  readonly exports: readonly TensorExport[];
  /** Keys that config.json gets. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly warnings: readonly string[];
}

export function noContents(obstacle: string): FolderContents {
  return { obstacle, tensors: [], exports: [], config: {}, warnings: [] };
}

/** transformers' name of a type. */
export const TORCH_NAMES: Readonly<Record<WeightDType, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/** The 16-bit type of a quantized folder: the model's own, else half precision. */
export function sixteenBits({ tensors }: MergedModel): 'F16' | 'BF16' {
  return tensors.some(({ dtype }) => dtype === 'BF16') ? 'BF16' : 'F16';
}

export interface FolderTensor {
  readonly tensors: readonly TensorToWrite[];
  readonly exported: TensorExport;
}

/** A parameter that stays a float tensor. */
export async function floatParameter(source: TensorSource, type: WeightDType): Promise<FolderTensor> {
  const count = source.shape.reduce((a, b) => a * b, 1);
  return {
    tensors: [{ name: source.name, dtype: type, shape: source.shape, data: () => parameter(source, type) }],
    exported: {
      name: source.name,
      stored: type,
      bytes: count * (type === 'F32' ? 4 : 2),
      loss: await parameterLoss(source, type),
    },
  };
}

/** Scales [outputs, scales of a row] in 16 bits; one for the whole matrix is repeated. */
export async function rowScales(
  tensor: QuantizedTensor,
  type: 'F16' | 'BF16',
): Promise<{ readonly perRow: number; readonly bits: Uint16Array; readonly loss: Loss | null }> {
  const own = await tensor.scales();
  const perRow = Math.max(1, scalesPerRow(tensor));
  const scales = tensor.groupSize === 0 ? new Float32Array(tensor.outputs).fill(own[0] ?? 0) : own;
  return {
    perRow,
    bits: type === 'F16' ? float32ToFp16(scales) : float32ToBf16(scales),
    loss: scaleLoss(own, type === 'F16' ? 'fp16' : 'bf16'),
  };
}
