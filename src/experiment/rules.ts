// Rules between keys that need nothing but the file. Each names the keys it reads and is skipped while one of them is wrong
// in itself, so that one mistake gives one message.

import { activationSites, staticActivations } from './activation-rules';
import { quoted } from './allowed';
import { validationApart, validationText, validationWithinRun, wikitextText } from './evaluation-rules';
import {
  fixedPointAlone,
  fractionBitsFit,
  learnedZeroPoints,
  overrideContents,
  overrideWidths,
  scaleDomainTrained,
} from './grid-rules';
import { memoryLimitBytes } from './memory-limit';
import { gptqUsed, integersOfStart, lowRankOfStart, lsqScaling, somethingTrained } from './method-rules';
import type { Rule } from './rule';
import {
  distillationWeight,
  finalRateReached,
  floatGroupsTrained,
  microBatchDivides,
  ratesMove,
  warmupEnds,
  zeroPointRate,
} from './training-rules';

const memoryUnit: Rule = {
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
};

/** Findings in the same place are told in this order. */
export const rules: readonly Rule[] = [
  microBatchDivides,
  fractionBitsFit,
  overrideWidths,
  overrideContents,
  fixedPointAlone,
  scaleDomainTrained,
  somethingTrained,
  integersOfStart,
  lowRankOfStart,
  gptqUsed,
  staticActivations,
  activationSites,
  zeroPointRate,
  learnedZeroPoints,
  ratesMove,
  distillationWeight,
  floatGroupsTrained,
  lsqScaling,
  warmupEnds,
  finalRateReached,
  validationText,
  wikitextText,
  validationApart,
  validationWithinRun,
  memoryUnit,
];
