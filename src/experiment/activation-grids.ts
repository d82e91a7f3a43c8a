// Where the engine quantizes activations, and how many grids and trained numbers that takes.

import type { ActivationSite } from '../../native/binding/addon';
import { widths, type EngineLayout } from './engine-layout';

/** In the order of the engine's list. */
const SITES: readonly ActivationSite[] = [
  'attentionInput',
  'keys',
  'values',
  'rotatedQueries',
  'rotatedKeys',
  'attentionOutput',
  'mlpInput',
  'mlpProduct',
];

export function quantizedSites({ activations }: Pick<EngineLayout, 'activations'>): ActivationSite[] {
  return SITES.filter((site) => (activations?.bits[site] ?? null) !== null);
}

/** Columns of the tensor at a site. */
export function activationColumns(site: ActivationSite, plan: EngineLayout): number {
  const { hidden, query, keyValue, intermediate } = widths(plan);
  switch (site) {
    case 'attentionInput':
    case 'mlpInput':
      return hidden;
    case 'keys':
    case 'values':
    case 'rotatedKeys':
      return keyValue;
    case 'rotatedQueries':
    case 'attentionOutput':
      return query;
    case 'mlpProduct':
      return intermediate;
  }
}

/** Tensors of activations, each with a grid of its own where ranges are static. */
export function staticGrids(plan: Pick<EngineLayout, 'shape' | 'activations'>): number {
  return plan.shape.layers * quantizedSites(plan).length;
}

/** Grids of activations are trained. */
export function learnsRanges({ activations }: Pick<EngineLayout, 'activations'>): boolean {
  return activations?.staticRanges?.learn === true;
}

/** Numbers that are trained beside those of linears: scales and zero points of static grids. */
export function trainedActivationNumbers(plan: Pick<EngineLayout, 'shape' | 'activations'>): number {
  if (!learnsRanges(plan)) return 0;
  return staticGrids(plan) * (plan.activations?.staticRanges?.symmetric === true ? 1 : 2);
}
