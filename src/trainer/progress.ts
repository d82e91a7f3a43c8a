// Where a run stands: all that the loop counts. Saved with every checkpoint (trainer.json), so that a resumed run continues
// the counts of the one that stopped.

import type { WeightForm } from '../../native/binding/addon';

/** Cross-entropy of some text under one form of the weights. */
export interface Measurement {
  readonly form: WeightForm;
  /** Sum over the predicted tokens, nats. */
  readonly lossSum: number;
  readonly tokens: number;
}

/** Mean cross-entropy, nats a token. */
export function lossOf({ lossSum, tokens }: Pick<Measurement, 'lossSum' | 'tokens'>): number {
  return lossSum / tokens;
}

/** exp of the mean cross-entropy; null when that is not a finite number, which JSON cannot hold. */
export function perplexityOf(measurement: Pick<Measurement, 'lossSum' | 'tokens'>): number | null {
  return finiteOrNull(Math.exp(lossOf(measurement)));
}

export function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

export interface Best {
  readonly step: number;
  readonly perplexity: number;
}

export interface Progress {
  /** Optimiser steps done, skipped ones included. */
  step: number;
  /** Position in the training data after `step` steps (TrainingData.state). */
  data: unknown;
  /** Step whose evaluation is complete, and what it gave by kind. */
  evaluatedAt: number | null;
  trained: Record<string, Measurement>;
  /** Best validation perplexity of all evaluations, and of those steps that have a checkpoint. */
  best: Best | null;
  bestCheckpoint: Best | null;
  /** Steps whose loss or gradient was not finite, in all and in a row. */
  skipped: number;
  skippedInRow: number;
  /** Tokens trained on and the seconds that took; seconds of all work, loading and evaluation included. */
  trainedTokens: number;
  trainingSeconds: number;
  seconds: number;
  /** Largest resident set seen in any attempt, bytes. */
  residentPeak: number;
}

export function newProgress(data: unknown): Progress {
  return {
    step: 0,
    data,
    evaluatedAt: null,
    trained: {},
    best: null,
    bestCheckpoint: null,
    skipped: 0,
    skippedInRow: 0,
    trainedTokens: 0,
    trainingSeconds: 0,
    seconds: 0,
    residentPeak: 0,
  };
}

/** The better of two, the earlier when they are equal; perplexities that are not finite are never best. */
export function better(best: Best | null, step: number, perplexity: number | null): Best | null {
  if (perplexity === null || (best !== null && best.perplexity <= perplexity)) return best;
  return { step, perplexity };
}
