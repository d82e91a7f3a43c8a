// The text of the status bar item. Pure.
import { formatSeconds } from '../experiment/format-numbers';
import type { ListedRun } from '../runs';
import { percent, runTitle, shareDone } from './explorer/run-text';
import { l10n } from './l10n';

/** null: nothing trains. With several runs the newest that runs is shown and the others are counted. */
export function statusBarText(live: readonly ListedRun[]): { readonly text: string; readonly run: ListedRun } | null {
  const byAge = [...live].sort((one, other) => other.status.created - one.status.created);
  const run = byAge.find(({ state }) => state !== 'paused' && state !== 'queued') ?? byAge[0];
  if (run === undefined) return null;
  const { status, state } = run;
  const icon = state === 'paused' ? '$(debug-pause)' : state === 'queued' ? '$(clock)' : '$(loading~spin)';
  const parts = [`${runTitle(run)} ${percent(shareDone(run))}`];
  if (state === 'paused') parts.push(l10n.t('paused'));
  else if (status.phase !== null) parts.push(status.phase);
  else if (status.etaSeconds !== null) parts.push(formatSeconds(status.etaSeconds));
  const others = live.length > 1 ? ` +${String(live.length - 1)}` : '';
  return { text: `${icon} ${parts.join(' · ')}${others}`, run };
}
