// Which activations an experiment quantizes, and with how many bits.

import type { ActivationQuantization, ActivationSite } from '../../native/binding/addon';
import type { Activations, Experiment } from './schema';

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
}

export function activationSettings(activations: NonNullable<Activations>): ActivationSettings {
  const custom = typeof activations === 'string' ? ACTIVATION_PRESETS[activations] : activations;
  const bits = custom.bits ?? 8;
  return {
    bits,
    kvBits: custom.kvBits ?? bits,
    normOutputs: custom.normOutputs ?? true,
    sites: custom.sites ?? ACTIVATION_SITES,
    zeroPoint: custom.zeroPoint ?? 'integer',
  };
}

/** As the engine takes it; null: no activation is quantized. */
export function resolveActivations({ quantization }: Experiment): ActivationQuantization | null {
  // Experiments stored by earlier versions do not have the key.
  const activations = quantization.activations as Activations | undefined;
  if (activations === null || activations === undefined) return null;
  const { bits, kvBits, normOutputs, sites, zeroPoint } = activationSettings(activations);
  const bySite: Partial<Record<ActivationSite, number>> = normOutputs ? { attentionInput: bits, mlpInput: bits } : {};
  for (const site of sites) bySite[ENGINE_SITES[site]] = site === 'keys' || site === 'values' ? kvBits : bits;
  return Object.keys(bySite).length === 0 ? null : { bits: bySite, zeroPoint };
}

/** `A8`, `A8KV4`, `A8 without norm outputs`: null where no activation is quantized. */
export function activationName(experiment: Experiment): string | null {
  if (resolveActivations(experiment) === null) return null;
  const { bits, kvBits, normOutputs, sites, zeroPoint } = activationSettings(
    experiment.quantization.activations ?? 'a8',
  );
  const cache = kvBits === bits || !sites.some((site) => site === 'keys' || site === 'values');
  return [
    `A${String(bits)}${cache ? '' : `KV${String(kvBits)}`}`,
    ...(normOutputs ? [] : ['without norm outputs']),
    ...(sites.length === ACTIVATION_SITES.length ? [] : [`${String(sites.length)} other sites`]),
    ...(zeroPoint === 'integer' ? [] : ['fractional zero points']),
  ].join(', ');
}
