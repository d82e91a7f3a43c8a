// A linear as merged.safetensors and our own export layout hold it: `L.codes`, `L.scales` and, with zero points, `L.zeroPoints`. Its
// numbers are read when they are asked for.
import { UserError } from '../errors';
import { packedRowBytes, scalesPerRow, type QuantizedTensor } from './quantized-tensor';
import { SafetensorsFile } from './safetensors-file';
import type { SafetensorsTensor } from './safetensors-header';

export interface PackedLinear {
  /** Without `.codes`. */
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
  readonly bits: number;
  /** As {@link QuantizedTensor} has it. */
  readonly groupSize: number;
  readonly symmetric: boolean;
}

/** @param place of a tensor: its file and what the header says of it
 *  @throws UserError DamagedFile when types or sizes are not those of the linear */
export function packedLinear(
  { name, outputs, inputs, bits, groupSize, symmetric }: PackedLinear,
  place: (tensor: string) => SafetensorsTensor & { readonly file: string },
): QuantizedTensor {
  const perRow = scalesPerRow({ groupSize, inputs });
  const scales = perRow === 0 ? 1 : outputs * perRow;
  const find = (part: string, dtype: string, bytes: number): string => {
    const tensor = place(`${name}.${part}`);
    if (tensor.dtype === dtype && tensor.bytes === bytes) return tensor.file;
    throw new UserError(
      'DamagedFile',
      `${tensor.file}: ${tensor.name} is ${tensor.dtype} [${tensor.shape.join(', ')}], expected ${dtype} of ${String(bytes)} bytes`,
    );
  };
  const files = {
    codes: find('codes', 'U8', outputs * packedRowBytes(bits, inputs)),
    scales: find('scales', 'F32', 4 * scales),
    zeroPoints: symmetric ? null : find('zeroPoints', 'U8', scales),
  };
  return {
    name,
    outputs,
    inputs,
    bits,
    groupSize,
    scales: () => read(files.scales, (file) => file.readTensorAs(`${name}.scales`, 'F32')),
    ...(files.zeroPoints === null ? {} : { zeroPoints: bytesOf(files.zeroPoints, `${name}.zeroPoints`) }),
    codes: bytesOf(files.codes, `${name}.codes`),
  };
}

function bytesOf(file: string, tensor: string): () => Promise<Uint8Array> {
  return () => read(file, (opened) => opened.readBytes(tensor));
}

async function read<T>(file: string, what: (opened: SafetensorsFile) => Promise<T>): Promise<T> {
  const opened = await SafetensorsFile.open(file);
  try {
    return await what(opened);
  } finally {
    await opened.close();
  }
}
