// What the code lens above an experiment says. Pure.
import { formatBytes, formatSeconds } from '../../experiment/format-numbers';
import { runSeconds } from '../../experiment/run-seconds';
import { l10n } from '../l10n';
import type { EstimateSummary, SweepSummary } from './world-protocol';

/** Titles after Start Training: memory and time, or what would make it fit. Times are rounded to what an estimate is worth. */
export function lensTitles(estimate: EstimateSummary | null | undefined): readonly string[] {
  if (estimate === undefined) return [l10n.t('checking …')];
  if (estimate === null) return [];
  if (estimate.sweep !== null) return sweepTitles(estimate.sweep, estimate.limit);
  const { total, limit, fits, suggestions } = estimate;
  if (!fits) {
    const needs = l10n.t('$(warning) needs {0}, {1} are there', formatBytes(total), formatBytes(limit));
    const [help] = suggestions.filter((suggestion) => suggestion.fits);
    return help === undefined
      ? [needs]
      : [needs, l10n.t('fits with {0} ({1} at least)', help.title, formatBytes(help.least))];
  }
  return [l10n.t('≈ {0}, fits', formatBytes(total)), ...timeTitle(estimate)];
}

/** Runs, the memory of the largest, time one after the other, disk. */
function sweepTitles(
  { count, tooLarge, memory, seconds, disk, freeDisk, fits }: SweepSummary,
  limit: number,
): string[] {
  return [
    count === 1 ? l10n.t('1 run') : l10n.t('{0} runs', count),
    tooLarge === 0
      ? l10n.t('up to {0}, fits', formatBytes(memory))
      : l10n.t('$(warning) {0} need more than {1}', tooLarge, formatBytes(limit)),
    ...(seconds === null || seconds <= 0 ? [] : [l10n.t('≈ {0} one after the other', formatSeconds(rounded(seconds)))]),
    fits
      ? l10n.t('up to {0} of disk', formatBytes(disk))
      : l10n.t('$(warning) up to {0} of disk, {1} free', formatBytes(disk), formatBytes(freeDisk ?? 0)),
  ];
}

function timeTitle(estimate: EstimateSummary): string[] {
  const seconds = runSeconds(estimate);
  return seconds > 0 ? [l10n.t('≈ {0}', formatSeconds(rounded(seconds)))] : [];
}

/** Two digits at most: 3 min 20 s, not 3 min 17 s. */
export function rounded(seconds: number): number {
  for (const [below, unit] of [
    [20, 1],
    [120, 10],
    [600, 30],
    [3600, 60],
    [36_000, 600],
  ] as const) {
    if (seconds < below) return Math.max(1, Math.round(seconds / unit) * unit);
  }
  return Math.round(seconds / 3600) * 3600;
}
