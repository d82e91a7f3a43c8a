// Rules between keys of the grid of weights: widths, storage, scales, zero points and overrides.

import { quoted } from './allowed';
import { hasZeroPoints } from './linears';
import type { Finding, Rule } from './rule';
import type { Experiment, LayerOverride } from './schema';

export const fractionBitsFit: Rule = {
  reads: ['quantization.storage', 'quantization.fractionBits', 'quantization.weights.bits'],
  *check({ quantization: { storage, fractionBits, weights } }) {
    if (storage !== 'fixed-point' || fractionBits === null) return;
    const finding = tooWide(weights.bits, fractionBits);
    if (finding)
      yield {
        ...finding,
        path: ['quantization', 'fractionBits'],
        message: `quantization.fractionBits: ${finding.message}`,
      };
  },
};

export const overrideWidths: Rule = { reads: ['quantization'], check: widthsOfOverrides };

export const overrideContents: Rule = { reads: ['quantization.layers'], check: contentsOfOverrides };

export const fixedPointAlone: Rule = {
  reads: ['quantization.storage', 'quantization.fractionBits', 'quantization.encoding'],
  *check({ quantization: { storage, fractionBits, encoding, layers } }) {
    if (storage === 'fixed-point' || layers.some((layer) => layer.storage === 'fixed-point')) return;
    if (fractionBits !== null) {
      yield {
        path: ['quantization', 'fractionBits'],
        value: fractionBits,
        severity: 'warning',
        message: `quantization.fractionBits: ${String(fractionBits)} has no effect with storage "${storage}"; only "fixed-point" has fraction bits`,
        replacements: [null],
      };
    }
    if (encoding !== 'auto') {
      yield {
        path: ['quantization', 'encoding'],
        value: encoding,
        severity: 'warning',
        message: `quantization.encoding: "${encoding}" has no effect with storage "${storage}"; only "fixed-point" is encoded`,
        replacements: ['auto'],
      };
    }
  },
};

export const scaleDomainTrained: Rule = {
  reads: ['quantization.method', 'quantization.storage', 'quantization.weights.scaleDomain', 'quantization.layers'],
  *check({ quantization: { method, storage, weights, layers } }) {
    if (method === 'peqa' && weights.scaleDomain === 'log') {
      yield {
        path: ['quantization', 'weights', 'scaleDomain'],
        value: 'log',
        severity: 'warning',
        message:
          'quantization.weights.scaleDomain: "log" has no effect with method "peqa", which always trains the scale itself; use "linear"',
        replacements: ['linear'],
      };
      return;
    }
    if (
      method === 'lsq' ||
      storage !== 'integer' ||
      weights.scaleDomain !== 'log' ||
      layers.some((layer) => layer.storage)
    )
      return;
    yield {
      path: ['quantization', 'weights', 'scaleDomain'],
      value: 'log',
      severity: 'warning',
      message:
        'quantization.weights.scaleDomain: "log" has no effect with storage "integer", which always trains the scale itself; use "linear"',
      replacements: ['linear'],
    };
  },
};

export const learnedZeroPoints: Rule = {
  reads: ['quantization.weights.symmetric', 'quantization.layers', 'quantization.learnZeroPoints'],
  *check(experiment) {
    if (experiment.quantization.learnZeroPoints || hasZeroPoints(experiment)) return;
    yield {
      path: ['quantization', 'learnZeroPoints'],
      value: false,
      severity: 'warning',
      message:
        'quantization.learnZeroPoints: false has no effect with symmetric weights, which have no zero points; use true, or quantization.weights.symmetric false',
      replacements: [true],
    };
  },
};

function tooWide(bits: number, fractionBits: number): Omit<Finding, 'path'> | undefined {
  if (bits + fractionBits <= 8) return undefined;
  return {
    value: fractionBits,
    message: `${String(fractionBits)} with ${String(bits)} bits makes ${String(bits + fractionBits)} bits a weight, fixed-point storage has room for 8; use at most ${String(8 - bits)}, or null`,
    replacements: [null, 8 - bits],
  };
}

/** Width of fixed-point codes in each override on its own; combinations of overrides are seen once the model is known. */
function* widthsOfOverrides({ quantization }: Experiment): Iterable<Finding> {
  for (const [index, layer] of quantization.layers.entries()) {
    const own = layer.bits !== undefined || layer.fractionBits !== undefined || layer.storage !== undefined;
    const storage = layer.storage ?? quantization.storage;
    const fractionBits = layer.fractionBits === undefined ? quantization.fractionBits : layer.fractionBits;
    if (!own || layer.skip === true || storage !== 'fixed-point' || fractionBits === null) continue;
    const finding = tooWide(layer.bits ?? quantization.weights.bits, fractionBits);
    if (!finding) continue;
    const key = layer.fractionBits !== undefined ? 'fractionBits' : layer.bits !== undefined ? 'bits' : 'storage';
    yield {
      path: ['quantization', 'layers', index, key],
      value: layer[key],
      message: `quantization.layers[${String(index)}] (${quoted(layer.match)}): fractionBits ${finding.message}`,
      hint: 'An entry takes what it does not set itself from quantization; write "fractionBits": null to let it follow the bits.',
      ...(key === 'fractionBits' ? { replacements: finding.replacements ?? [] } : {}),
    };
  }
}

function* contentsOfOverrides({ quantization: { layers } }: Experiment): Iterable<Finding> {
  for (const [index, layer] of layers.entries()) {
    const keys = (Object.keys(layer) as (keyof LayerOverride)[]).filter((key) => key !== 'match' && key !== 'skip');
    const name = `quantization.layers[${String(index)}] (${quoted(layer.match)})`;
    if (layer.skip === true && keys.length > 0) {
      yield {
        path: ['quantization', 'layers', index],
        severity: 'warning',
        message: `${name}: skip keeps these linears in float, so ${keys.join(', ')} cannot have an effect; remove one or the other`,
      };
    } else if (layer.skip === undefined && keys.length === 0) {
      yield {
        path: ['quantization', 'layers', index],
        severity: 'warning',
        message: `${name} changes nothing; add "skip": true, or a setting such as "bits": 4`,
      };
    }
  }
}
