// Rules of batches, learning rates, their schedule and distillation.

import { divisors, largestBelow, someOf } from './divisors';
import { FLOAT_GROUPS } from './float-parameters';
import { hasZeroPoints } from './linears';
import type { Rule } from './rule';
import { isTrained } from './start';

export const microBatchDivides: Rule = {
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
};

export const zeroPointRate: Rule = {
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
};

export const ratesMove: Rule = {
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
};

export const distillationWeight: Rule = {
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
};

export const floatGroupsTrained: Rule = {
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
};

export const warmupEnds: Rule = {
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
};

export const finalRateReached: Rule = {
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
};
