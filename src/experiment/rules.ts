// Rules between keys that need nothing but the file. Each names the keys it reads and is skipped while one of them is wrong
// in itself, so that one mistake gives one message.

import { quoted } from './allowed';
import { STATIC_KEYS, activationSettings, resolveActivations } from './activations';
import { groupsWithRates } from './float-groups';
import { FLOAT_GROUPS } from './float-parameters';
import { hasZeroPoints } from './linears';
import { memoryLimitBytes } from './memory-limit';
import type { KeyPath } from './problem';
import type { Experiment, LayerOverride } from './schema';
import { isTrained, startOf } from './start';

/** What a rule found; the caller adds the place. */
export interface Finding {
  readonly path: KeyPath;
  readonly message: string;
  readonly hint?: string;
  readonly severity?: 'error' | 'warning';
  readonly value?: unknown;
  /** Key paths it depends on beside its own. */
  readonly reads?: readonly string[];
  /** Say it only of a value that is in the file, not of a default. */
  readonly onlyWhenWritten?: boolean;
  /** Values that would make it right, best first; offered as fixes. */
  readonly replacements?: readonly unknown[];
}

export interface Rule {
  /** Key paths the rule looks at, e.g. `training.batchSize`; a section stands for all in it. */
  readonly reads: readonly string[];
  readonly check: (experiment: Experiment) => Iterable<Finding>;
}

export const rules: readonly Rule[] = [
  {
    reads: ['training.batchSize', 'training.microBatchSize'],
    *check({ training: { batchSize, microBatchSize } }) {
      if (batchSize % microBatchSize === 0) return;
      const choices = divisors(batchSize);
      yield {
        path: ['training', 'microBatchSize'],
        value: microBatchSize,
        message: `training.microBatchSize: ${String(microBatchSize)} does not divide batchSize ${String(batchSize)}; use ${someOf(choices)}`,
        replacements: [largestBelow(choices, microBatchSize)],
      };
    },
  },
  {
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
  },
  { reads: ['quantization'], check: overrideWidths },
  { reads: ['quantization.layers'], check: overrideContents },
  {
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
  },
  {
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
  },
  {
    reads: [
      'quantization.method',
      'quantization.lowRank.rank',
      'quantization.learnScales',
      'quantization.layers',
      'training.learningRate',
    ],
    *check(experiment) {
      const { method, lowRank, learnScales, layers } = experiment.quantization;
      if (method === 'peqa' && !learnScales && !layers.some((layer) => layer.learnScales === true)) {
        yield {
          path: ['quantization', 'learnScales'],
          value: false,
          message:
            'quantization.learnScales: false leaves nothing to train with method "peqa", which trains the scales alone; use true, or method "rtn"',
          replacements: [true],
        };
      }
      if (method !== 'lr-qat' || lowRank.rank > 0 || learnScales) return;
      if (groupsWithRates(experiment).length > 0) return;
      if (layers.some((layer) => (layer.rank ?? 0) > 0 || layer.learnScales === true)) return;
      yield {
        path: ['quantization', 'lowRank', 'rank'],
        value: 0,
        message:
          'quantization.lowRank.rank: 0 with learnScales false leaves nothing to train; use a rank such as 32, learnScales true, or method "rtn"',
        replacements: [32],
      };
    },
  },
  {
    reads: ['quantization.method', 'quantization.start.integers'],
    *check({ quantization: { method, start } }) {
      if ((method !== 'rtn' && method !== 'lsq') || start.integers !== 'gptq') return;
      yield {
        path: ['quantization', 'start', 'integers'],
        value: 'gptq',
        severity: 'warning',
        message:
          method === 'lsq'
            ? 'quantization.start.integers: "gptq" has no effect with method "lsq", whose weights start from the checkpoint; use "round-to-nearest", or method "lr-qat"'
            : 'quantization.start.integers: "gptq" has no effect with method "rtn", which only rounds to nearest; use method "gptq", or "lr-qat" to train from there',
        replacements: ['round-to-nearest'],
      };
    },
  },
  {
    reads: ['quantization.method', 'quantization.start'],
    *check({ quantization: { method, start } }) {
      if (method !== 'lr-qat' && start.lowRank === 'svd') {
        yield {
          path: ['quantization', 'start', 'lowRank'],
          value: 'svd',
          severity: 'warning',
          message: `quantization.start.lowRank: "svd" has no effect with method "${method}", which has no low-rank term; use "zero", or method "lr-qat"`,
          replacements: ['zero'],
        };
      }
      if (start.iterations === 1) return;
      const without = start.lowRank === 'zero';
      if (!without && start.integers === 'round-to-nearest') return;
      yield {
        path: ['quantization', 'start', 'iterations'],
        value: start.iterations,
        severity: without ? 'warning' : 'error',
        message: without
          ? `quantization.start.iterations: ${String(start.iterations)} has no effect with lowRank "zero"; use 1, or lowRank "svd"`
          : `quantization.start.iterations: ${String(start.iterations)} would round anew what GPTQ has rounded; use 1, or integers "round-to-nearest"`,
        replacements: [1],
      };
    },
  },
  {
    reads: ['quantization.method', 'quantization.start', 'quantization.gptq'],
    *check(experiment) {
      const { gptq, method } = experiment.quantization;
      if (startOf(experiment)?.gptq === true || method === 'rtn') return;
      const defaults = { sequences: 128, damping: 0.01, activationOrder: false } as const;
      for (const key of ['sequences', 'damping', 'activationOrder'] as const) {
        if (gptq[key] === defaults[key]) continue;
        yield {
          path: ['quantization', 'gptq', key],
          value: gptq[key],
          severity: 'warning',
          message: `quantization.gptq.${key}: ${String(gptq[key])} has no effect without GPTQ; use method "gptq", or quantization.start.integers "gptq"`,
          replacements: [defaults[key]],
        };
      }
    },
  },
  {
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
  },
  {
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
  },
  {
    reads: ['quantization.weights.symmetric', 'quantization.layers', 'training.learningRate.zeroPoints'],
    *check(experiment) {
      const { zeroPoints } = experiment.training.learningRate;
      if (zeroPoints === null || hasZeroPoints(experiment)) return;
      yield {
        path: ['training', 'learningRate', 'zeroPoints'],
        value: zeroPoints,
        severity: 'warning',
        message: `training.learningRate.zeroPoints: ${String(zeroPoints)} has no effect with symmetric weights, which have no zero points; use null, or quantization.weights.symmetric false`,
        replacements: [null],
      };
    },
  },
  {
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
  },
  {
    reads: ['training.learningRate', 'quantization.method', 'quantization.lowRank.rank', 'quantization.learnScales'],
    *check(experiment) {
      const { learningRate } = experiment.training;
      const { method, lowRank, learnScales } = experiment.quantization;
      if (!isTrained(experiment)) return;
      const trainsLowRank = method === 'lr-qat' && lowRank.rank > 0;
      const trainsWeights = method === 'lsq';
      if (trainsWeights && learningRate.weights === 0) {
        yield {
          path: ['training', 'learningRate', 'weights'],
          value: 0,
          message:
            'training.learningRate.weights: 0 never moves the weights that method "lsq" trains; use a positive rate such as 0.00005, or method "peqa" to train the scales alone',
          replacements: [5e-5],
        };
      }
      if (trainsLowRank && learningRate.lowRank === 0) {
        yield {
          path: ['training', 'learningRate', 'lowRank'],
          value: 0,
          message: `training.learningRate.lowRank: 0 never moves A and B of rank ${String(lowRank.rank)}; use a positive rate such as 0.001, or rank 0 to train the scales alone`,
          replacements: [1e-3],
        };
      }
      if (learnScales && learningRate.scales === 0) {
        yield {
          path: ['training', 'learningRate', 'scales'],
          value: 0,
          severity: trainsLowRank || trainsWeights ? 'warning' : 'error',
          message:
            'training.learningRate.scales: 0 never moves the scales but keeps their gradients and moments in memory; use a positive rate such as 0.00001, or learnScales false',
          replacements: [1e-5],
        };
      }
    },
  },
  {
    reads: ['quantization.method', 'training.distillation'],
    *check(experiment) {
      const { weight, topK, temperature } = experiment.training.distillation;
      const { method } = experiment.quantization;
      if (weight > 0 && !isTrained(experiment)) {
        yield {
          path: ['training', 'distillation', 'weight'],
          value: weight,
          severity: 'warning',
          message: `training.distillation.weight: ${String(weight)} has no effect with method "${method}", which does not train; use 0, or method "lr-qat"`,
          replacements: [0],
        };
      }
      if (weight > 0) return;
      const others = [
        { key: 'topK', value: topK, standard: 64 },
        { key: 'temperature', value: temperature, standard: 1 },
      ] as const;
      for (const { key, value, standard } of others) {
        if (value === standard) continue;
        yield {
          path: ['training', 'distillation', key],
          value,
          severity: 'warning',
          message: `training.distillation.${key}: ${String(value)} has no effect with weight 0, which is no distillation; use ${String(standard)}, or a weight such as 0.5`,
          replacements: [standard],
        };
      }
    },
  },
  {
    reads: ['quantization.method', 'training.learningRate'],
    *check(experiment) {
      if (isTrained(experiment)) return;
      const { method } = experiment.quantization;
      for (const group of FLOAT_GROUPS) {
        const rate = experiment.training.learningRate[group] ?? 0;
        if (rate === 0) continue;
        yield {
          path: ['training', 'learningRate', group],
          value: rate,
          severity: 'warning',
          message: `training.learningRate.${group}: ${String(rate)} has no effect with method "${method}", which trains nothing; use null, or a method that trains`,
          replacements: [null],
        };
      }
    },
  },
  {
    reads: ['quantization.method', 'quantization.lsq.gradientScaling'],
    *check({ quantization: { method, lsq } }) {
      if (method === 'lsq' || !lsq.gradientScaling) return;
      yield {
        path: ['quantization', 'lsq', 'gradientScaling'],
        value: true,
        severity: 'warning',
        message: `quantization.lsq.gradientScaling: true has no effect with method "${method}"; use false, or method "lsq"`,
        replacements: [false],
      };
    },
  },
  {
    reads: ['training.steps', 'training.warmupRatio', 'quantization.method'],
    *check(experiment) {
      const { steps, warmupRatio } = experiment.training;
      if (!isTrained(experiment) || Math.round(steps * warmupRatio) < steps) return;
      yield {
        path: ['training', 'warmupRatio'],
        value: warmupRatio,
        message: `training.warmupRatio: ${String(warmupRatio)} spends all ${String(steps)} steps on the warm-up, the peak is never reached; use less than ${String(Math.floor((1 - 0.5 / steps) * 100) / 100)}, for example 0.1`,
        replacements: [0.1],
      };
    },
  },
  {
    reads: ['training.schedule', 'training.finalLearningRateRatio'],
    *check({ training: { schedule, finalLearningRateRatio } }) {
      if (schedule !== 'constant' || finalLearningRateRatio === 0) return;
      yield {
        path: ['training', 'finalLearningRateRatio'],
        value: finalLearningRateRatio,
        severity: 'warning',
        message: `training.finalLearningRateRatio: ${String(finalLearningRateRatio)} has no effect with schedule "constant"; use "linear" or "cosine"`,
        replacements: [0],
      };
    },
  },
  {
    reads: ['evaluation.kinds', 'data.validation'],
    *check({ evaluation: { kinds }, data: { validation } }) {
      if (!kinds.includes('validation') || validation.length > 0) return;
      yield {
        path: ['data', 'validation'],
        severity: 'warning',
        message:
          'data.validation names no files, so nothing is measured while training and the best checkpoint cannot be told; add a text that is not trained on',
      };
    },
  },
  {
    reads: ['evaluation.kinds', 'evaluation.wikitext.files'],
    *check({ evaluation: { kinds, wikitext } }) {
      const index = kinds.indexOf('wikitext');
      if (index < 0 || wikitext.files.length > 0) return;
      yield {
        path: ['evaluation', 'kinds', index],
        value: 'wikitext',
        message:
          'evaluation.kinds: "wikitext" needs its text; name the raw test split of WikiText-2 in evaluation.wikitext.files',
      };
    },
  },
  {
    reads: ['data.train', 'data.validation'],
    *check({ data: { train, validation } }) {
      for (const [index, file] of validation.entries()) {
        if (!train.includes(file)) continue;
        yield {
          path: ['data', 'validation', index],
          value: file,
          severity: 'warning',
          message: `data.validation[${String(index)}]: ${quoted(file)} is also trained on, so its perplexity says little; use a text of its own`,
        };
      }
    },
  },
  {
    reads: ['training.steps', 'evaluation.everySteps', 'evaluation.kinds'],
    *check({ training: { steps }, evaluation: { everySteps, kinds } }) {
      if (everySteps <= steps || kinds.length === 0) return;
      yield {
        path: ['evaluation', 'everySteps'],
        onlyWhenWritten: true,
        value: everySteps,
        severity: 'warning',
        message: `evaluation.everySteps: ${String(everySteps)} is more than the ${String(steps)} steps of the run, which is measured at its start and end only; use at most ${String(steps)}, or 0 to say so`,
        replacements: [Math.max(1, Math.floor(steps / 10))],
      };
    },
  },
  {
    reads: ['memoryLimit'],
    *check({ memoryLimit }) {
      const bytes = memoryLimit === 'auto' ? undefined : memoryLimitBytes(memoryLimit, 0);
      if (bytes === undefined || bytes >= 2 ** 20) return;
      yield {
        path: ['memoryLimit'],
        value: memoryLimit,
        message: `memoryLimit: ${quoted(memoryLimit)} is less than a mebibyte; numbers are bytes, so write a unit, for example "6 GiB"`,
      };
    },
  },
];

function tooWide(bits: number, fractionBits: number): Omit<Finding, 'path'> | undefined {
  if (bits + fractionBits <= 8) return undefined;
  return {
    value: fractionBits,
    message: `${String(fractionBits)} with ${String(bits)} bits makes ${String(bits + fractionBits)} bits a weight, fixed-point storage has room for 8; use at most ${String(8 - bits)}, or null`,
    replacements: [null, 8 - bits],
  };
}

/** Width of fixed-point codes in each override on its own; combinations of overrides are seen once the model is known. */
function* overrideWidths({ quantization }: Experiment): Iterable<Finding> {
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

function* overrideContents({ quantization: { layers } }: Experiment): Iterable<Finding> {
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

/** All divisors, ascending. */
export function divisors(value: number): number[] {
  const small: number[] = [];
  const large: number[] = [];
  for (let candidate = 1; candidate * candidate <= value; candidate++) {
    if (value % candidate !== 0) continue;
    small.push(candidate);
    if (candidate * candidate !== value) large.unshift(value / candidate);
  }
  return [...small, ...large];
}

/** `1, 2, 4 or 8`; of many choices the first and last. */
export function someOf(choices: readonly number[]): string {
  const texts = choices.map(String);
  if (texts.length > 12) return `${texts.slice(0, 6).join(', ')}, … or ${texts.slice(-2).join(' or ')}`;
  return texts.length === 1 ? texts.join('') : `${texts.slice(0, -1).join(', ')} or ${texts.at(-1) ?? ''}`;
}

export function largestBelow(choices: readonly number[], value: number): number {
  return choices.findLast((choice) => choice <= value) ?? choices[0] ?? 1;
}
