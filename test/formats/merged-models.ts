// Merged models with random integers, for the tests of export formats.
import path from 'node:path';
import { modelParameters, openModel, writeSafetensors, type TensorToWrite } from '../../src/formats';
import { float32ToBf16, fp16Value } from '../../src/formats/half';
import type { MergedModel } from '../../src/formats/merged-model';
import { linearNames, linearSize, type LinearName, type ModelShape } from '../../src/formats/model-shape';
import { packedRowBytes, type QuantizedTensor } from '../../src/formats/quantized-tensor';
import { generator, writeJson } from './support';

/** Widths of 256 for super-blocks, and an MLP of 172, which no block divides. */
export const BLOCKY = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 256,
  intermediate_size: 172,
  num_hidden_layers: 1,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 32,
  vocab_size: 32,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  rope_theta: 10000,
  tie_word_embeddings: false,
} as const;

export interface RandomLinears {
  readonly bits: number;
  /** As QuantizedTensor has it. */
  readonly groupSize: number;
  /** Of the scales. */
  readonly scales: 'fp16' | 'bf16' | 'float32';
  /** With random zero points; default: none. */
  readonly asymmetric?: boolean;
}

/** A model folder with random bf16 parameters. */
export async function randomFolder(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  shape: ModelShape,
): Promise<void> {
  const below = generator(7);
  writeJson(path.join(folder, 'config.json'), config);
  writeJson(path.join(folder, 'tokenizer.json'), {});
  const tensors = modelParameters(shape).map(({ name, shape: size }): TensorToWrite => {
    const values = Float32Array.from({ length: size.reduce((a, b) => a * b, 1) }, () => (below(2000) - 1000) / 1000);
    return { name, dtype: 'BF16', shape: size, data: float32ToBf16(values) };
  });
  await writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
}

/** The folder's model with every linear quantized at random. */
export async function randomMerged(folder: string, linears: RandomLinears): Promise<MergedModel> {
  const { shape, tensors } = await openModel(folder);
  const below = generator(11);
  const quantized = new Map<string, QuantizedTensor>();
  for (const name of linearNames(shape)) {
    const size = linearSize(shape, name.replace(/^model\.layers\.\d+\./, '') as LinearName);
    const fits = linears.groupSize <= 0 || size.inputs % linears.groupSize === 0;
    quantized.set(name, randomTensor(name, size, fits ? linears : { ...linears, groupSize: -1 }, below));
  }
  return { shape, tensors, quantized };
}

export function randomTensor(
  name: string,
  { outputs, inputs }: { readonly outputs: number; readonly inputs: number },
  { bits, groupSize, scales: kind, asymmetric = false }: RandomLinears,
  below: (end: number) => number,
): QuantizedTensor {
  const count = groupSize === 0 ? 1 : groupSize < 0 ? outputs : (outputs * inputs) / groupSize;
  const scales = Float32Array.from({ length: count }, () => {
    // Between 2^-9 and 2^-5, where half precision is normal.
    if (kind === 'fp16') return fp16Value(0x1800 + below(0x1000));
    const value = Math.fround((1 + below(1 << 23) / (1 << 23)) * 2 ** (-9 + below(4)));
    return kind === 'float32'
      ? value
      : new Float32Array(Uint32Array.of((float32ToBf16(Float32Array.of(value))[0] ?? 0) << 16).buffer)[0]!;
  });
  const integers = Uint8Array.from({ length: outputs * inputs }, () => below(2 ** bits));
  const zeroPoints = Uint8Array.from({ length: count }, () => below(2 ** bits));
  return {
    name,
    outputs,
    inputs,
    bits,
    groupSize,
    ...(asymmetric ? { zeroPoints: () => Promise.resolve(zeroPoints) } : {}),
    scales: () => Promise.resolve(scales),
    codes: () => Promise.resolve(packBits(integers, outputs, inputs, bits)),
  };
}

/** Bit by bit: code k of a row takes bits k·bits and on, lowest first. */
function packBits(codes: Uint8Array, outputs: number, inputs: number, bits: number): Uint8Array {
  const rowBytes = packedRowBytes(bits, inputs);
  const packed = new Uint8Array(outputs * rowBytes);
  for (let row = 0; row < outputs; row++) {
    for (let k = 0; k < inputs; k++) {
      for (let bit = 0; bit < bits; bit++) {
        const at = k * bits + bit;
        packed[row * rowBytes + (at >> 3)]! |= ((codes[row * inputs + k]! >> bit) & 1) << (at & 7);
      }
    }
  }
  return packed;
}

/** s · Q in float32, from the packed form, bit by bit. */
export async function trainedWeights(tensor: QuantizedTensor): Promise<Float32Array> {
  const { outputs, inputs, bits, groupSize } = tensor;
  const [codes, scales] = [await tensor.codes(), await tensor.scales()];
  const zeroPoints = await tensor.zeroPoints?.();
  const rowBytes = packedRowBytes(bits, inputs);
  return Float32Array.from({ length: outputs * inputs }, (_, i) => {
    const [row, column] = [Math.floor(i / inputs), i % inputs];
    let code = 0;
    for (let bit = 0; bit < bits; bit++) {
      const at = column * bits + bit;
      code |= ((codes[row * rowBytes + (at >> 3)]! >> (at & 7)) & 1) << bit;
    }
    const scale = groupSize === 0 ? 0 : groupSize < 0 ? row : Math.floor(i / groupSize);
    const zero = zeroPoints === undefined ? 2 ** (bits - 1) : zeroPoints[scale]!;
    return Math.fround(scales[scale]! * (code - zero));
  });
}
