// The text of the status bar item. Pure.
import { formatSeconds } from '../experiment/format-numbers';
import type { ListedRun } from '../runs';
import { percent, runTitle, shareDone } from './explorer/run-text';
import { l10n } from './l10n';

/** null: nothing trains. With several runs the newest that runs is shown and the others are counted. */
export function statusBarText(live: readonly ListedRun[]): { readonly text: string; readonly run: ListedRun } | null {
  const queued = live.filter(({ state }) => state === 'queued').length;
  const byAge = [...live].sort((one, other) => other.status.created - one.status.created);
  const run = byAge.find(({ state }) => state !== 'paused' && state !== 'queued') ?? byAge[0];
  if (run === undefined) return null;
  const { status, state } = run;
  const icon = state === 'paused' ? '$(debug-pause)' : state === 'queued' ? '$(clock)' : '$(loading~spin)';
  const parts = [`${runTitle(run)} ${percent(shareDone(run))}`];
  if (state === 'paused') parts.push(l10n.t('paused'));
  else if (status.phase !== null) parts.push(status.phase);
  else if (status.etaSeconds !== null) parts.push(formatSeconds(status.etaSeconds));
  const beside = live.length - queued - (state === 'queued' ? 0 : 1);
  const others = beside > 0 ? ` +${String(beside)}` : '';
  const waiting = queued > 0 ? [l10n.t('{0} queued', queued)] : [];
  const working = state === 'queued' ? [] : [`${parts.join(' · ')}${others}`];
  return { text: `${icon} ${[...working, ...waiting].join(' · ')}`, run };
}
