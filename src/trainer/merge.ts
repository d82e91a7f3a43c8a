// merged.safetensors: the result of a run, the integers of every quantized linear with their scales. For linear L of m
// outputs: `L.codes` U8 [m, bytes of a packed row] (offset codes Q + 2^(bits−1), little-endian bit stream, rows padded to 32
// codes) and `L.scales` F32; Ŵ = s ∘ Q. A linear with an asymmetric grid has codes that are Q itself and `L.zeroPoints` U8 in
// the shape of its scales; Ŵ = s ∘ (Q − z). What is not quantized stays in the model folder.

import path from 'node:path';
import type { Engine, LinearQuantization } from '../../native/binding/addon';
import { packedRowBytes, quantizedLinears, scaleCount, type QuantizedLinear } from '../experiment/memory-layout';
import type { FileSystem } from '../formats/file-system';
import type { ModelShape } from '../formats/model-shape';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors, type TensorToWrite } from '../formats/safetensors-writer';

export interface QuantizedModel {
  readonly shape: ModelShape;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
}

export function mergedFile(runDirectory: string): string {
  return path.join(runDirectory, 'merged.safetensors');
}

/** Merges linear by linear and writes the file. */
export async function writeMerged(
  fileSystem: FileSystem,
  file: string,
  engine: Pick<Engine, 'merge' | 'scales' | 'zeroPoints'>,
  model: QuantizedModel,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const tensors = quantizedLinears(model).flatMap((linear): TensorToWrite[] => [
    { name: `${linear.name}.scales`, dtype: 'F32', shape: scaleShape(linear), data: () => engine.scales(linear.name) },
    ...(linear.spec.symmetric === false
      ? [
          {
            name: `${linear.name}.zeroPoints`,
            dtype: 'U8' as const,
            shape: scaleShape(linear),
            data: () => engine.zeroPoints(linear.name),
          },
        ]
      : []),
    {
      name: `${linear.name}.codes`,
      dtype: 'U8',
      shape: [linear.outputs, packedRowBytes(linear.spec.bits, linear.inputs)],
      data: () => engine.merge(linear.name),
    },
  ]);
  await writeSafetensors(file, tensors, { fileSystem, metadata: { format: 'lrqat-merged', ...metadata } });
}

function scaleShape(linear: QuantizedLinear): number[] {
  const { spec, outputs } = linear;
  if (spec.groupSize === 0) return [1];
  return spec.groupSize < 0 ? [outputs] : [outputs, scaleCount(linear) / outputs];
}

/** Lets the engine evaluate form `merged` from the file. */
export async function attachMerged(
  engine: Pick<Engine, 'attachMerged'>,
  file: string,
  model: QuantizedModel,
): Promise<void> {
  const opened = await SafetensorsFile.open(file);
  try {
    await engine.attachMerged(
      Object.fromEntries(
        quantizedLinears(model).map(({ name, spec }) => [
          name,
          {
            file,
            codesOffset: opened.info(`${name}.codes`).offset,
            scalesOffset: opened.info(`${name}.scales`).offset,
            ...(spec.symmetric === false ? { zeroPointsOffset: opened.info(`${name}.zeroPoints`).offset } : {}),
          },
        ]),
      ),
    );
  } finally {
    await opened.close();
  }
}
