// Course of the learning rates.

import type { Experiment } from '../experiment';

export type ScheduleSettings = Pick<
  Experiment['training'],
  'steps' | 'schedule' | 'warmupRatio' | 'finalLearningRateRatio'
>;

/** Steps in which the rate rises from 0 to its peak. */
export function warmupSteps({ steps, warmupRatio }: Pick<ScheduleSettings, 'steps' | 'warmupRatio'>): number {
  return Math.round(steps * warmupRatio);
}

/**
 * Learning rate of a step as a share of the peak.
 *
 * As in the reference's linear schedule the first warm-up step has rate 0 (lr-qat.md §11.3) and the last step is one short of
 * the final rate: step `steps`, which is never taken, would have exactly `finalLearningRateRatio`. Unlike the reference a
 * final rate above 0 does not stretch the warm-up.
 * @param index steps done before this one, from 0
 */
export function learningRateFactor(settings: ScheduleSettings, index: number): number {
  const warmup = warmupSteps(settings);
  if (index < warmup) return index / warmup;
  const progress = Math.min(1, (index - warmup) / Math.max(1, settings.steps - warmup));
  const end = settings.finalLearningRateRatio;
  switch (settings.schedule) {
    case 'linear':
      return end + (1 - end) * (1 - progress);
    case 'cosine':
      return end + (1 - end) * 0.5 * (1 + Math.cos(Math.PI * progress));
    case 'constant':
      return 1;
  }
}
