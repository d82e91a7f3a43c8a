// A model in our own export layout as the engine takes it: its linears decoded to floats, one at a time, into a file that goes away
// again. Nothing is rounded: the smallest type that holds all products s·Q of a linear.
import type { HuggingFaceModel } from '../formats';
import { writeSafetensors, readHeader, type TensorToWrite } from '../formats';
import { dequantized, productsFit, quantizedWeight, type MergedModel } from '../formats/merged-model';
import type { TensorSource, WeightDType } from '../formats/model-shape';
import type { QuantizedTensor } from '../formats/quantized-tensor';
import { tensorBytes } from '../formats/safetensors-shards';
import type { Scratch } from './export/scratch';

export interface DecodeOptions {
  readonly signal: AbortSignal | null;
  readonly onProgress: (done: number, total: number) => void;
}

/** @returns where every parameter is then
 *  @throws UserError DiskFull; AbortError after `signal` */
export async function decodeLinears(
  merged: MergedModel,
  scratch: Scratch,
  { signal, onProgress }: DecodeOptions,
): Promise<HuggingFaceModel['tensors']> {
  const written: TensorToWrite[] = [];
  for (const source of merged.tensors) {
    const linear = quantizedWeight(merged, source);
    if (linear === null) continue;
    const dtype = await exactType(linear);
    const done = written.length + 1;
    const data = (): AsyncIterable<Uint8Array> => {
      signal?.throwIfAborted();
      onProgress(done, merged.quantized.size);
      return dequantized(linear, dtype);
    };
    written.push({ name: source.name, dtype, shape: source.shape, data });
  }
  const bytes = written.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const file = await scratch.path('decoded.safetensors', bytes, 'the decoded copy of the model');
  await writeSafetensors(file, written);
  const { tensors } = await readHeader(file);
  return merged.tensors.map((source): TensorSource => {
    const place = tensors.get(source.name);
    const dtype = written.find(({ name }) => name === source.name)?.dtype;
    if (place === undefined || !isFloat(dtype)) return source;
    return { ...source, file, dtype, offset: place.offset, bytes: place.bytes };
  });
}

async function exactType(linear: QuantizedTensor): Promise<WeightDType> {
  if (await productsFit(linear, 'bf16')) return 'BF16';
  return (await productsFit(linear, 'fp16')) ? 'F16' : 'F32';
}

function isFloat(dtype: string | undefined): dtype is WeightDType {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}
