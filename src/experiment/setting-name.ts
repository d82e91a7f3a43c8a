// What an experiment does, in the few words that people use for it. Free of Node, so that a webview can say it.

import { activationName } from './activations';
import { withDefaults } from './defaults';
import { distillationOf } from './distillation';
import { groupsWithRates } from './float-groups';
import type { Experiment } from './schema';
import { isTrained, startOf } from './start';

const METHODS: Readonly<Record<Experiment['quantization']['method'], string>> = {
  'lr-qat': 'LR-QAT',
  lsq: 'LSQ',
  peqa: 'PEQA',
  gptq: 'GPTQ',
  rtn: 'round-to-nearest',
};

/**
 * `LR-QAT · W2 g128 with zero points · A8KV4 · rank 32 · from GPTQ · distillation 0.75 · norms trained`.
 * @param stored an experiment as a run keeps it, of whatever version; null: it is none
 */
export function settingName(stored: unknown): string | null {
  if (typeof stored !== 'object' || stored === null) return null;
  try {
    return partsOf(withDefaults(stored) as Experiment).join(' · ');
  } catch (error) {
    // Somebody has edited it.
    if (error instanceof TypeError) return null;
    throw error;
  }
}

function partsOf(experiment: Experiment): string[] {
  const { method, weights, lowRank, layers } = experiment.quantization;
  const activations = activationName(experiment);
  const start = startOf(experiment);
  const distillation = distillationOf(experiment);
  const groups = groupsWithRates(experiment);
  return [
    METHODS[method],
    [
      `W${String(weights.bits)}${granularityName(weights.granularity)}`,
      ...(weights.symmetric ? [] : ['with zero points']),
      ...(layers.length === 0 ? [] : ['with exceptions']),
    ].join(' '),
    ...(activations === null ? [] : [activations]),
    ...(method === 'lr-qat' ? [`rank ${String(lowRank.rank)}`] : []),
    ...(start?.gptq === true && isTrained(experiment) ? ['from GPTQ'] : []),
    ...((start?.lowRank ?? null) === null ? [] : ['A·B from singular values']),
    ...(distillation === null ? [] : [`distillation ${String(distillation.weight)}`]),
    ...(groups.length === 0 ? [] : [`${groups.join(', ')} trained`]),
  ];
}

function granularityName(granularity: Experiment['quantization']['weights']['granularity']): string {
  if (typeof granularity === 'object') return ` g${String(granularity.group)}`;
  return granularity === 'per-tensor' ? ' per tensor' : '';
}
