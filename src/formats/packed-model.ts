// Reading an export in our own layout (packed-integers.ts): a folder whose config.json says `"quant_method": "lr-qat"`.
import path from 'node:path';
import { UserError } from '../errors';
import { readJsonDocument } from './json-document';
import type { MergedModel } from './merged-model';
import { parseModelConfig } from './model-config';
import { modelParameters } from './model-parameters';
import { LINEAR_NAMES, linearNames, linearSize, type ModelShape, type TensorSource } from './model-shape';
import { findWeights, type ModelWeights, type StoredTensor } from './model-weights';
import { packedLinear } from './packed-linear';
import type { QuantizedTensor } from './quantized-tensor';
import { isObject, showValue } from './show-value';

const MAX_CONFIG_BYTES = 10_000_000;

export const OWN_METHOD = 'lr-qat';

/** null: the folder is none of these. Weights of quantized linears have no place as such: their sources say name and shape alone.
 *  @throws UserError that names the file, the key or tensor, and what is wrong with it */
export async function openPackedModel(folder: string): Promise<MergedModel | null> {
  const configFile = path.join(folder, 'config.json');
  const config = await readJsonDocument(configFile, MAX_CONFIG_BYTES);
  if (!isObject(config)) return null;
  const { quantization_config: settings, ...plain } = config;
  if (!isObject(settings) || settings['quant_method'] !== OWN_METHOD) return null;
  const { shape } = parseModelConfig(plain, configFile);
  const weights = await findWeights(folder);
  const quantized = readLinears(settings['linears'], shape, weights, configFile);
  const tensors = modelParameters(shape).map(({ name, shape: size }): TensorSource => {
    const linear = name.endsWith('.weight') ? quantized.get(name.slice(0, -'.weight'.length)) : undefined;
    if (linear !== undefined) return { name, file: '', offset: 0, bytes: 0, dtype: 'F32', shape: size };
    return floatSource(placeIn(weights, folder)(name), size);
  });
  return { shape, tensors, quantized };
}

function placeIn({ tensors }: ModelWeights, folder: string): (name: string) => StoredTensor {
  return (name) => {
    const found = tensors.get(name);
    if (found === undefined) throw new UserError('WeightsMissing', `${folder}: no file holds ${name}`);
    return found;
  };
}

function floatSource({ name, file, offset, bytes, dtype, shape }: StoredTensor, size: readonly number[]): TensorSource {
  if ((dtype === 'F32' || dtype === 'BF16' || dtype === 'F16') && shape.join() === size.join()) {
    return { name, file, offset, bytes, dtype, shape };
  }
  throw new UserError(
    'WeightsInvalid',
    `${file}: ${name} is ${dtype} [${shape.join(', ')}], expected floats [${size.join(', ')}]`,
  );
}

function readLinears(
  value: unknown,
  shape: ModelShape,
  weights: ModelWeights,
  configFile: string,
): ReadonlyMap<string, QuantizedTensor> {
  const invalid = (what: string): UserError =>
    new UserError('ConfigInvalid', `${configFile}: quantization_config.linears${what}`);
  if (!isObject(value)) throw invalid(` is ${showValue(value)}, must be an object`);
  const known = new Set(linearNames(shape));
  const place = placeIn(weights, path.dirname(configFile));
  return new Map(
    Object.entries(value).map(([name, spec]): [string, QuantizedTensor] => {
      const linear = LINEAR_NAMES.find((end) => name.endsWith(`.${end}`));
      if (!known.has(name) || linear === undefined) throw invalid(` names ${name}, which the model does not have`);
      const { bits, groupSize, symmetric } = isObject(spec) ? spec : {};
      const size = linearSize(shape, linear);
      const isWhole = (number: unknown, from: number, to: number): number is number =>
        typeof number === 'number' && Number.isInteger(number) && number >= from && number <= to;
      if (
        !isWhole(bits, 2, 8) ||
        !isWhole(groupSize, -1, size.inputs) ||
        (groupSize > 0 && size.inputs % groupSize !== 0) ||
        typeof symmetric !== 'boolean'
      ) {
        throw invalid(
          `.${name} is ${showValue(spec)}: bits (2 to 8), groupSize (−1, 0 or a divisor of ${String(size.inputs)}) and symmetric are expected`,
        );
      }
      return [name, packedLinear({ name, ...size, bits, groupSize, symmetric }, place)];
    }),
  );
}
