// Our own layout: the integers in exactly their bits and the scales in float32, beside what is not quantized as it was. Exact always.
import { floatParameter, type FolderContents, type FolderTensor } from './folder-export';
import { quantizedWeight, type MergedModel } from './merged-model';
import { OWN_METHOD } from './packed-model';
import { packedRowBytes, scalesPerRow, type QuantizedTensor } from './quantized-tensor';

export async function planPackedIntegers(model: MergedModel): Promise<FolderContents> {
  const all: FolderTensor[] = [];
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    all.push(linear === null ? await floatParameter(source, source.dtype) : await packed(linear));
  }
  const linears = [...model.quantized.values()].map(({ name, bits, groupSize, zeroPoints }) => [
    name,
    { bits, groupSize, symmetric: zeroPoints === undefined },
  ]);
  return {
    obstacle: null,
    tensors: all.flatMap(({ tensors }) => tensors),
    exports: all.map(({ exported }) => exported),
    config: {
      quantization_config: {
        quant_method: OWN_METHOD,
        layout:
          'codes Q + 2^(bits-1), little-endian bit stream a row, rows padded to 32 codes; W = scale * Q; asymmetric: codes Q, W = scale * (Q - zero point)',
        linears: Object.fromEntries(linears) as Record<string, unknown>,
      },
    },
    warnings: [],
  };
}

async function packed(tensor: QuantizedTensor): Promise<FolderTensor> {
  const { name, outputs, inputs, bits, zeroPoints } = tensor;
  const scales = await tensor.scales();
  const rowBytes = packedRowBytes(bits, inputs);
  const perRow = scalesPerRow(tensor);
  const shape = perRow === 0 ? [1] : perRow === 1 ? [outputs] : [outputs, perRow];
  return {
    tensors: [
      ...(zeroPoints === undefined
        ? []
        : [{ name: `${name}.zeroPoints`, dtype: 'U8' as const, shape, data: zeroPoints }]),
      { name: `${name}.scales`, dtype: 'F32', shape, data: () => tensor.scales() },
      { name: `${name}.codes`, dtype: 'U8', shape: [outputs, rowBytes], data: () => tensor.codes() },
    ],
    exported: {
      name: `${name}.weight`,
      stored: `${String(bits)} bits`,
      bytes: outputs * rowBytes + scales.byteLength + (zeroPoints === undefined ? 0 : scales.length),
      loss: null,
    },
  };
}
