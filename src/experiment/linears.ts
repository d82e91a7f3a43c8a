// Which linear of the model is quantized how, after all overrides.

import type { LinearQuantization } from '../../native/binding/addon';
import { linearNames, type ModelShape } from '../formats/model-shape';
import type { Experiment, Granularity, LayerOverride } from './schema';
import { isTrained } from './start';

export { linearNames };

/** True when the whole `name` matches; `*` stands for any characters, dots included. */
export function matchesGlob(glob: string, name: string): boolean {
  const parts = glob.split('*');
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (parts.length === 1) return glob === name;
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let from = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, from);
    if (found < 0 || found + part.length > end) return false;
    from = found + part.length;
  }
  return true;
}

/** The entries that match, merged: of several that set a key the last one wins. */
export function overridesFor(layers: readonly LayerOverride[], name: string): Omit<LayerOverride, 'match'> {
  const merged: Omit<LayerOverride, 'match'> = {};
  for (const { match, ...settings } of layers) {
    if (matchesGlob(match, name)) Object.assign(merged, settings);
  }
  return merged;
}

/** By full linear name in model order; null: kept in float. */
export function resolveLinears(experiment: Experiment, shape: ModelShape): Record<string, LinearQuantization | null> {
  return Object.fromEntries(linearNames(shape).map((name) => [name, resolveLinear(experiment, name)]));
}

export function resolveLinear(experiment: Experiment, name: string): LinearQuantization | null {
  const { quantization } = experiment;
  const own = overridesFor(quantization.layers, name);
  if (own.skip === true) return null;
  const trained = isTrained(experiment);
  const lowRank = quantization.method === 'lr-qat';
  const bits = own.bits ?? quantization.weights.bits;
  const weights = quantization.method === 'lsq';
  // Without a low-rank term nothing is trained around: the integers themselves, or the weight that is trained.
  const storage = lowRank ? (own.storage ?? quantization.storage) : weights ? 'trained' : 'integer';
  // null in an override says "follow the bits" even where quantization.fractionBits is set.
  const written = own.fractionBits === undefined ? quantization.fractionBits : own.fractionBits;
  const fractionBits = storage === 'fixed-point' ? (written ?? 8 - bits) : 0;
  const encoding = own.encoding ?? quantization.encoding;
  const learnScales = trained && (own.learnScales ?? quantization.learnScales);
  const symmetric = own.symmetric ?? quantization.weights.symmetric;
  const learnZeroPoints = (lowRank || weights) && learnScales && (own.learnZeroPoints ?? quantization.learnZeroPoints);
  return {
    bits,
    groupSize: groupSizeOf(own.granularity ?? quantization.weights.granularity),
    storage,
    fractionBits,
    encoding: encoding === 'auto' ? defaultEncoding(fractionBits) : encoding,
    range: own.range ?? quantization.weights.range,
    scaleDomain: own.scaleDomain ?? quantization.weights.scaleDomain,
    scaleFormat: own.scaleFormat ?? quantization.weights.scaleFormat,
    learnScales,
    ...(symmetric ? {} : { symmetric, learnZeroPoints }),
    rank: lowRank ? (own.rank ?? quantization.lowRank.rank) : 0,
    alpha: own.alpha ?? quantization.lowRank.alpha,
    ...(weights && quantization.lsq.gradientScaling ? { gradientScaling: true } : {}),
  };
}

/** Some linear has zero points. */
export function hasZeroPoints({ quantization: { weights, layers } }: Experiment): boolean {
  return !weights.symmetric || layers.some((layer) => layer.symmetric === false);
}

/** As LinearQuantization counts: 0 per tensor, −1 per channel, else the group. */
export function groupSizeOf(granularity: Granularity): number {
  if (typeof granularity === 'object') return granularity.group;
  return granularity === 'per-tensor' ? 0 : -1;
}

/**
 * With 1 or 2 fraction bits the reference code would flip up to a quarter of the integers at step 0. Without fraction bits it
 * is exact rounding, and the centre of the step would be a tie (engine.md).
 */
function defaultEncoding(fractionBits: number): 'reference' | 'centred' {
  return fractionBits === 1 || fractionBits === 2 ? 'centred' : 'reference';
}
