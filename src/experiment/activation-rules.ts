// Rules between keys of `quantization.activations`.

import { STATIC_KEYS, activationSettings, resolveActivations } from './activations';
import { quoted } from './allowed';
import type { Rule } from './rule';
import { isTrained } from './start';

export const staticActivations: Rule = {
  reads: ['quantization.method', 'quantization.activations'],
  *check(experiment) {
    const { activations } = experiment.quantization;
    if (activations === null || typeof activations === 'string') return;
    const { range, zeroPoint, learn } = activationSettings(activations);
    const path = (key: string) => ['quantization', 'activations', key];
    if (range === 'static' && zeroPoint === 'reference') {
      yield {
        path: path('zeroPoint'),
        value: zeroPoint,
        message:
          'quantization.activations.zeroPoint: "reference" belongs to the grids of tokens, static ones have integers; use "integer", or range "per-token"',
        replacements: ['integer'],
      };
    }
    const learns = range === 'static' && learn;
    if (learns && !isTrained(experiment)) {
      yield {
        path: path('learn'),
        value: learn,
        severity: 'warning',
        message: `quantization.activations.learn: true has no effect with method ${quoted(experiment.quantization.method)}, which trains nothing; use false`,
        replacements: [false],
      };
    }
    for (const key of STATIC_KEYS) {
      const value = activations[key];
      const ofLearning = key === 'learningRate' || key === 'gradientScaling';
      if (value === undefined || (ofLearning ? learns : range === 'static')) continue;
      yield {
        path: path(key),
        value,
        severity: 'warning',
        message: `quantization.activations.${key}: ${String(value)} has no effect without ${ofLearning && range === 'static' ? 'learn true' : 'range "static"'}; remove it${ofLearning && range === 'static' ? ', or learn the ranges' : ', or use static ranges'}`,
      };
    }
  },
};

export const activationSites: Rule = {
  reads: ['quantization.activations'],
  *check(experiment) {
    const { activations } = experiment.quantization;
    if (activations === null || typeof activations === 'string') return;
    const { bits, kvBits, sites } = activationSettings(activations);
    if (resolveActivations(experiment) === null) {
      yield {
        path: ['quantization', 'activations', 'sites'],
        value: activations.sites ?? [],
        message:
          'quantization.activations: with normOutputs false and no sites nothing is quantized; name a site, or use null',
      };
    } else if (kvBits !== bits && !sites.includes('keys') && !sites.includes('values')) {
      yield {
        path: ['quantization', 'activations', 'kvBits'],
        value: kvBits,
        severity: 'warning',
        message: `quantization.activations.kvBits: ${String(kvBits)} has no effect without the sites "keys" and "values"; use null, or name one of them`,
        replacements: [null],
      };
    }
  },
};
