// How large the quantized model is, beside the one it was made from.

import { bitsOf } from '../formats/safetensors-dtype';
import type { TensorSource } from '../formats/model-shape';
import {
  mergedBytes,
  quantizedLinears,
  SCALE_BITS,
  scaleCount,
  ZERO_POINT_BITS,
  zeroPointCount,
} from '../experiment/quantized-linears';
import { elementsOf, floatParameters } from '../experiment/float-parameters';
import type { QuantizedModel } from './merge';

export interface ModelSizes {
  /** Bits of codes, scales and zero points over the number of quantized weights. Scales and zero points count as stored, in
   *  float32 and in bytes; the padding of rows to whole words does not count. 0 when nothing is quantized. */
  readonly bitsPerWeight: number;
  /** Bytes of the whole model: merged codes (padding included) and scales, float32 of what was trained beside the linears, everything
   *  else as in the model folder. */
  readonly modelBytes: number;
  /** The same for the model as it came. */
  readonly float: { readonly bitsPerWeight: number; readonly modelBytes: number };
}

export function modelSizes(model: QuantizedModel & { readonly tensors: readonly TensorSource[] }): ModelSizes {
  const sources = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  let floatBytes = 0;
  for (const { bytes } of sources.values()) floatBytes += bytes;
  let weights = 0;
  let quantizedBits = 0;
  let sourceBits = 0;
  let modelBytes = floatBytes;
  for (const parameter of floatParameters(model.shape, model.floats)) {
    modelBytes += elementsOf(parameter) * 4 - (sources.get(parameter.name)?.bytes ?? 0);
  }
  for (const linear of quantizedLinears(model)) {
    const { name, spec, outputs, inputs } = linear;
    const source = sources.get(`${name}.weight`);
    const count = outputs * inputs;
    const scales = scaleCount(linear);
    weights += count;
    quantizedBits += count * spec.bits + scales * SCALE_BITS + zeroPointCount(linear) * ZERO_POINT_BITS;
    sourceBits += count * (source === undefined ? 0 : bitsOf(source.dtype));
    modelBytes += mergedBytes(linear) - (source?.bytes ?? 0);
  }
  const perWeight = (bits: number): number => (weights === 0 ? 0 : bits / weights);
  return {
    bitsPerWeight: perWeight(quantizedBits),
    modelBytes,
    float: { bitsPerWeight: perWeight(sourceBits), modelBytes: floatBytes },
  };
}
