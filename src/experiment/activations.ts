// Which activations an experiment quantizes, and with how many bits.

import type { ActivationQuantization, ActivationSite } from '../../native/binding/addon';
import type { Activations, Experiment } from './schema';
import { isTrained } from './start';

type Custom = Extract<Activations, object>;
type Preset = Extract<Activations, string>;
type Site = NonNullable<Custom['sites']>[number];

/** What a preset stands for. */
export const ACTIVATION_PRESETS: Readonly<Record<Preset, Custom>> = {
  a8: { bits: 8 },
  'a8-kv4': { bits: 8, kvBits: 4 },
  a4: { bits: 4 },
};

const ENGINE_SITES: Readonly<Record<Site, ActivationSite>> = {
  keys: 'keys',
  values: 'values',
  'rotated-queries': 'rotatedQueries',
  'rotated-keys': 'rotatedKeys',
  'attention-output': 'attentionOutput',
  'mlp-product': 'mlpProduct',
};
export const ACTIVATION_SITES = Object.keys(ENGINE_SITES) as readonly Site[];

/** Every setting of the object form, also those that are not written. */
export interface ActivationSettings {
  readonly bits: number;
  readonly kvBits: number;
  readonly normOutputs: boolean;
  readonly sites: readonly Site[];
  readonly zeroPoint: 'integer' | 'reference';
  readonly range: 'per-token' | 'static';
  readonly sequences: number;
  readonly symmetric: boolean;
  readonly learn: boolean;
  readonly learningRate: number;
  readonly gradientScaling: boolean;
}

/** Keys that say something of static ranges alone. */
export const STATIC_KEYS = ['sequences', 'symmetric', 'learn', 'learningRate', 'gradientScaling'] as const;

export function activationSettings(activations: NonNullable<Activations>): ActivationSettings {
  const custom = typeof activations === 'string' ? ACTIVATION_PRESETS[activations] : activations;
  const bits = custom.bits ?? 8;
  return {
    bits,
    kvBits: custom.kvBits ?? bits,
    normOutputs: custom.normOutputs ?? true,
    sites: custom.sites ?? ACTIVATION_SITES,
    zeroPoint: custom.zeroPoint ?? 'integer',
    range: custom.range ?? 'per-token',
    sequences: custom.sequences ?? 32,
    symmetric: custom.symmetric ?? false,
    learn: custom.learn ?? false,
    learningRate: custom.learningRate ?? 1e-5,
    gradientScaling: custom.gradientScaling ?? true,
  };
}

/** Of static ranges; null: there are none. */
export function staticRangesOf(experiment: Experiment): ActivationSettings | null {
  if (resolveActivations(experiment) === null) return null;
  const settings = activationSettings(experiment.quantization.activations ?? 'a8');
  return settings.range === 'static' ? settings : null;
}

/** As the engine takes it; null: no activation is quantized. */
export function resolveActivations({ quantization }: Pick<Experiment, 'quantization'>): ActivationQuantization | null {
  // Experiments stored by earlier versions do not have the key.
  const activations = quantization.activations as Activations | undefined;
  if (activations === null || activations === undefined) return null;
  const settings = activationSettings(activations);
  const { bits, kvBits, normOutputs, sites, zeroPoint, range, symmetric, gradientScaling } = settings;
  // What does not train has nothing to learn ranges with.
  const learn = settings.learn && isTrained({ quantization });
  const bySite: Partial<Record<ActivationSite, number>> = normOutputs ? { attentionInput: bits, mlpInput: bits } : {};
  for (const site of sites) bySite[ENGINE_SITES[site]] = site === 'keys' || site === 'values' ? kvBits : bits;
  if (Object.keys(bySite).length === 0) return null;
  if (range === 'per-token') return { bits: bySite, zeroPoint };
  return { bits: bySite, zeroPoint: 'integer', staticRanges: { symmetric, learn, gradientScaling } };
}

/** `A8`, `A8KV4`, `A8 without norm outputs`: null where no activation is quantized. */
export function activationName(experiment: Pick<Experiment, 'quantization'>): string | null {
  if (resolveActivations(experiment) === null) return null;
  const settings = activationSettings(experiment.quantization.activations ?? 'a8');
  const { bits, kvBits, normOutputs, sites, zeroPoint, symmetric } = settings;
  const isStatic = settings.range === 'static';
  const cache = kvBits === bits || !sites.some((site) => site === 'keys' || site === 'values');
  return [
    `A${String(bits)}${cache ? '' : `KV${String(kvBits)}`}`,
    ...(normOutputs ? [] : ['without norm outputs']),
    ...(sites.length === ACTIVATION_SITES.length ? [] : [`${String(sites.length)} other sites`]),
    ...(zeroPoint === 'integer' || isStatic ? [] : ['fractional zero points']),
    ...(isStatic
      ? [`${symmetric ? 'symmetric ' : ''}static ranges${settings.learn && isTrained(experiment) ? ', learned' : ''}`]
      : []),
  ].join(', ');
}
