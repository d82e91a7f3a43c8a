// Rules between the method, what it trains and what it starts from.

import { groupsWithRates } from './float-groups';
import type { Rule } from './rule';
import { startOf } from './start';

export const somethingTrained: Rule = {
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
};

export const integersOfStart: Rule = {
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
};

export const lowRankOfStart: Rule = {
  reads: ['quantization.method', 'quantization.start', 'quantization.lowRank.rank', 'quantization.layers'],
  *check({ quantization: { method, start, lowRank, layers } }) {
    if (method !== 'lr-qat' && start.lowRank === 'svd') {
      yield {
        path: ['quantization', 'start', 'lowRank'],
        value: 'svd',
        severity: 'warning',
        message: `quantization.start.lowRank: "svd" has no effect with method "${method}", which has no low-rank term; use "zero", or method "lr-qat"`,
        replacements: ['zero'],
      };
    }
    if (
      method === 'lr-qat' &&
      start.lowRank === 'svd' &&
      lowRank.rank === 0 &&
      !layers.some(({ rank }) => (rank ?? 0) > 0)
    ) {
      yield {
        path: ['quantization', 'start', 'lowRank'],
        value: 'svd',
        severity: 'warning',
        message:
          'quantization.start.lowRank: "svd" has no effect with quantization.lowRank.rank 0, which leaves no A·B; use "zero", or a rank such as 32',
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
};

export const gptqUsed: Rule = {
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
};

export const lsqScaling: Rule = {
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
};
