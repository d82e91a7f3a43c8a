// merged.safetensors: the result of a run, the integers of every quantized linear with their scales. For linear L of m
// outputs: `L.codes` U8 [m, bytes of a packed row] (offset codes Q + 2^(bits−1), little-endian bit stream, rows padded to 32
// codes) and `L.scales` F32; Ŵ = s ∘ Q. A linear with an asymmetric grid has codes that are Q itself and `L.zeroPoints` U8 in
// the shape of its scales; Ŵ = s ∘ (Q − z). What was trained beside the linears is there in float32 under its name in the model
// folder, where everything else stays. Where activations have static grids these are there too: `activations.ranges` F32
// [layers · sites, 2] and, where they are trained, `activations.scale` and `activations.zeroPoint` (not rounded) F32 [layers · sites].

import path from 'node:path';
import type { Engine, LinearQuantization, TrainedFloats } from '../../native/binding/addon';
import { floatParameters } from '../experiment/float-parameters';
import { packedRowBytes, quantizedLinears, scaleCount, type QuantizedLinear } from '../experiment/quantized-linears';
import type { FileSystem } from '../formats/file-system';
import type { ModelShape, TensorSource } from '../formats/model-shape';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors, type TensorToWrite } from '../formats/safetensors-writer';

export interface QuantizedModel {
  readonly shape: ModelShape;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** What was trained beside them; null: nothing. */
  readonly floats: TrainedFloats | null;
}

/** Parameters of the model folder, those trained beside the linears in the place that `merged` gives them. */
export function withTrainedFloats(
  tensors: readonly TensorSource[],
  { shape, floats }: Pick<QuantizedModel, 'shape' | 'floats'>,
  merged: (name: string) => Pick<TensorSource, 'file' | 'offset' | 'bytes'>,
): TensorSource[] {
  const trained = new Set(floatParameters(shape, floats).map(({ name }) => name));
  return tensors.map((source) => {
    if (!trained.has(source.name)) return source;
    const { file, offset, bytes } = merged(source.name);
    return { ...source, file, offset, bytes, dtype: 'F32' };
  });
}

export function mergedFile(runDirectory: string): string {
  return path.join(runDirectory, 'merged.safetensors');
}

/** Merges linear by linear and writes the file. */
export async function writeMerged(
  fileSystem: FileSystem,
  file: string,
  engine: Pick<Engine, 'merge' | 'scales' | 'zeroPoints' | 'activationRanges' | 'parameters' | 'readState'>,
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
  const floats = floatParameters(model.shape, model.floats).map(({ name, shape }): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape,
    data: () => engine.readState(withoutWeight(name), 'weight', 'value'),
  }));
  await writeSafetensors(file, [...tensors, ...floats, ...(await activationGrids(engine))], {
    fileSystem,
    metadata: { format: 'lrqat-merged', ...metadata },
  });
}

/** As engines name what has a weight. */
function withoutWeight(name: string): string {
  return name.slice(0, -'.weight'.length);
}

/** Prefix of what belongs to activations; their owner among trained numbers. */
const ACTIVATIONS = 'activations';
const RANGES = `${ACTIVATIONS}.ranges`;

async function activationGrids(
  engine: Pick<Engine, 'activationRanges' | 'parameters' | 'readState'>,
): Promise<TensorToWrite[]> {
  const ranges = await engine.activationRanges();
  if (ranges.length === 0) return [];
  return [
    { name: RANGES, dtype: 'F32', shape: [ranges.length / 2, 2], data: ranges },
    ...engine
      .parameters()
      .filter(({ linear }) => linear === ACTIVATIONS)
      .map(({ linear, kind, shape }): TensorToWrite => ({
        name: `${linear}.${kind}`,
        dtype: 'F32',
        shape,
        data: () => engine.readState(linear, kind, 'value'),
      })),
  ];
}

/** Gives the engine the grids of activations of the file, where it has any. */
export async function attachActivations(
  engine: Pick<Engine, 'setActivationRanges' | 'parameters' | 'writeState'>,
  file: string,
): Promise<void> {
  const opened = await SafetensorsFile.open(file);
  try {
    if (!opened.tensors.has(RANGES)) return;
    await engine.setActivationRanges(await opened.readTensorAs(RANGES, 'F32'));
    for (const { linear, kind } of engine.parameters()) {
      if (linear !== ACTIVATIONS) continue;
      await engine.writeState(linear, kind, 'value', await opened.readTensorAs(`${linear}.${kind}`, 'F32'));
    }
  } finally {
    await opened.close();
  }
}

function scaleShape(linear: QuantizedLinear): number[] {
  const { spec, outputs } = linear;
  if (spec.groupSize === 0) return [1];
  return spec.groupSize < 0 ? [outputs] : [outputs, scaleCount(linear) / outputs];
}

/** Lets the engine evaluate form `merged` from the file; see also {@link attachActivations}. */
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
      Object.fromEntries(
        floatParameters(model.shape, model.floats).map(({ name }) => [
          withoutWeight(name),
          { file, offset: opened.info(name).offset },
        ]),
      ),
    );
  } finally {
    await opened.close();
  }
}
