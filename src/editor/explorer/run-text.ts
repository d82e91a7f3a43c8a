// What the explorer, the status bar and notifications say about a run.
import { showNumber } from '../../compare/show';
import { formatBytes, formatCount, formatSeconds } from '../../experiment/format-numbers';
import { isEnded, isLive, type BrokenRun, type DerivedState, type ListedRun, type RunEntry } from '../../runs';
import { l10n } from '../l10n';

export interface IconSpec {
  readonly id: string;
  /** Id of a theme colour. */
  readonly color?: string;
}

const ICONS: Readonly<Record<DerivedState, IconSpec>> = {
  queued: { id: 'clock' },
  starting: { id: 'loading~spin' },
  running: { id: 'loading~spin', color: 'charts.blue' },
  paused: { id: 'debug-pause', color: 'charts.yellow' },
  stopping: { id: 'loading~spin', color: 'charts.yellow' },
  stopped: { id: 'stop-circle', color: 'descriptionForeground' },
  finished: { id: 'pass', color: 'testing.iconPassed' },
  failed: { id: 'error', color: 'testing.iconFailed' },
  crashed: { id: 'flame', color: 'testing.iconFailed' },
  stale: { id: 'question', color: 'charts.orange' },
};

export function iconOf(entry: RunEntry): IconSpec {
  return entry.kind === 'broken' ? { id: 'warning', color: 'list.warningForeground' } : ICONS[entry.state];
}

export function stateIcon(state: DerivedState | 'broken'): IconSpec {
  return state === 'broken' ? { id: 'warning', color: 'list.warningForeground' } : ICONS[state];
}

export function stateName(state: DerivedState | 'broken'): string {
  switch (state) {
    case 'queued':
      return l10n.t('Queued');
    case 'starting':
      return l10n.t('Starting');
    case 'running':
      return l10n.t('Running');
    case 'paused':
      return l10n.t('Paused');
    case 'stopping':
      return l10n.t('Stopping');
    case 'stopped':
      return l10n.t('Stopped');
    case 'finished':
      return l10n.t('Finished');
    case 'failed':
      return l10n.t('Failed');
    case 'crashed':
      return l10n.t('Crashed');
    case 'stale':
      return l10n.t('No sign of life');
    case 'broken':
      return l10n.t('Unreadable');
  }
}

/** The name that the user gave, else when it was started: below its experiment the rest of the folder's name says nothing new.
 *  Short, because side bars are narrow: today's runs have a time, older ones a date. */
export function runLabel(entry: RunEntry, now = Date.now()): string {
  if (entry.kind === 'run' && entry.notes.name !== undefined && entry.notes.name !== '') return entry.notes.name;
  // Runs of a sweep start at one moment: what tells them apart is what was swept.
  if (entry.kind === 'run' && entry.origin.combination !== undefined) return entry.origin.combination;
  const match = /^(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})(\d{2})-(.+)$/.exec(entry.name);
  if (match === null) return entry.name;
  const [, year = '', month = '', day = '', hour = '', minute = '', second = ''] = match;
  const today = new Date(now);
  const started = new Date(Number(year), Number(month) - 1, Number(day));
  if (started.toDateString() === today.toDateString()) return `${hour}:${minute}:${second}`;
  if (started.getFullYear() !== today.getFullYear()) return `${year}-${month}-${day} ${hour}:${minute}`;
  const date = started.toLocaleDateString(undefined, { month: 'short', day: 'numeric' });
  return `${date} ${hour}:${minute}`;
}

/** Name for places where the experiment is not said beside it. */
export function runTitle(entry: RunEntry): string {
  if (entry.kind === 'broken') return entry.name;
  const { notes, origin, name } = entry;
  return notes.name ?? origin.experimentName ?? name;
}

/** Share of the steps done, 0 to 1. */
export function shareDone({ status }: ListedRun): number {
  return status.totalSteps > 0 ? Math.min(1, status.step / status.totalSteps) : 0;
}

export const percent = (share: number): string => `${String(Math.floor(share * 100))}%`;

/** Perplexity of the trained weights: of the end (of what was only rounded, that of the merged ones), else the best evaluation so
 *  far. */
export function perplexityOf({ result, status }: ListedRun): number | null {
  return result?.perplexity.trained ?? result?.perplexity.merged ?? status.best?.perplexity ?? null;
}

const perplexity = (value: number): string => `ppl ${showNumber(value, 'perplexity')}`;

/** What stands behind a run's label. */
export function runDescription(entry: RunEntry): string {
  if (entry.kind === 'broken') return l10n.t('unreadable: {0}', entry.reason);
  const { status, state, result, notes } = entry;
  const tags = (notes.tags ?? []).map((tag) => `#${tag}`);
  const best = perplexityOf(entry);
  const parts: string[] = [];
  switch (state) {
    case 'running':
    case 'stopping':
    case 'starting':
      if (state === 'stopping') parts.push(l10n.t('stopping'));
      if (status.phase === null || status.step > 0) parts.push(percent(shareDone(entry)));
      if (status.phase !== null) parts.push(phaseText(entry));
      if (status.phase === null || status.step > 0) {
        parts.push(...lossPart(entry));
        if (best !== null) parts.push(perplexity(best));
        if (state === 'running' && status.phase === null && status.etaSeconds !== null) {
          parts.push(l10n.t('{0} left', formatSeconds(status.etaSeconds)));
        }
      }
      break;
    case 'paused':
    case 'stopped':
    case 'stale':
    case 'crashed':
      parts.push(stateName(state).toLowerCase(), percent(shareDone(entry)), ...lossPart(entry));
      if (best !== null) parts.push(perplexity(best));
      break;
    case 'finished':
      if (best !== null) parts.push(perplexity(best));
      if (result?.gapClosed !== null && result !== null) {
        parts.push(l10n.t('{0} of the gap', `${(result.gapClosed * 100).toFixed(0)}%`));
      }
      break;
    case 'failed':
      parts.push(status.error?.message ?? l10n.t('failed'));
      break;
    case 'queued':
      parts.push(l10n.t('queued'));
  }
  return [...parts, ...tags].join(' · ');
}

function lossPart({ status }: ListedRun): string[] {
  return status.loss === null ? [] : [`loss ${status.loss.toFixed(3)}`];
}

function phaseText({ status: { phase, progress } }: ListedRun): string {
  const counted = progress !== null && progress.total > 0 ? ` ${percent(progress.done / progress.total)}` : '';
  return `${phase ?? ''}${counted}`;
}

/** Rows of the tooltip: name and value, in order. Sizes on disk are the caller's, because they take a while. */
export function runFacts(entry: ListedRun, now: number): readonly (readonly [string, string])[] {
  const { status, state, result } = entry;
  const rows: (readonly [string, string])[] = [];
  const add = (name: string, value: string | null): void => {
    if (value !== null && value !== '') rows.push([name, value]);
  };
  add(l10n.t('Step'), `${String(status.step)} / ${String(status.totalSteps)} (${percent(shareDone(entry))})`);
  if (!isEnded(state)) add(l10n.t('Now'), status.phase ?? (state === 'running' ? l10n.t('training') : null));
  add(l10n.t('Loss'), status.loss === null ? null : showNumber(status.loss, 'nats'));
  if (result === null) {
    const { best } = status;
    if (best !== null) {
      const value = showNumber(best.perplexity, 'perplexity');
      add(l10n.t('Best perplexity'), l10n.t('{0} at step {1}', value, best.step));
    }
  } else {
    const { float, roundToNearest, merged } = result.perplexity;
    const show = (value: number | null): string => showNumber(value, 'perplexity');
    add(l10n.t('Perplexity'), `**${show(perplexityOf(entry))}**`);
    add(l10n.t('… merged'), show(merged));
    add(l10n.t('… round-to-nearest'), show(roundToNearest));
    add(l10n.t('… float'), show(float));
    add(l10n.t('Gap closed'), result.gapClosed === null ? null : showNumber(result.gapClosed, 'share'));
    add(l10n.t('Bits per weight'), showNumber(result.bitsPerWeight, 'bits'));
    add(l10n.t('Merged model'), showNumber(result.modelBytes, 'bytes'));
  }
  const speed = result?.tokensPerSecond ?? status.tokensPerSecond;
  add(l10n.t('Speed'), speed === null || !(speed > 0) ? null : l10n.t('{0} tokens/s', formatCount(speed)));
  add(l10n.t('Engine memory'), status.memory === null ? null : formatBytes(status.memory.engine));
  if (isLive(entry) && status.etaSeconds !== null) add(l10n.t('Left'), formatSeconds(status.etaSeconds));
  add(l10n.t('Took'), result === null ? null : formatSeconds(result.seconds));
  add(l10n.t('Started'), status.started === null ? null : ago(status.started, now));
  add(l10n.t('Last checkpoint'), status.lastCheckpoint === null ? null : l10n.t('step {0}', status.lastCheckpoint));
  if (status.attempt > 1) add(l10n.t('Attempt'), String(status.attempt));
  return rows;
}

/** `14:02, 3 min ago`; of other days the date. */
export function ago(time: number, now: number): string {
  const date = new Date(time);
  const clock = date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
  const seconds = Math.max(0, (now - time) / 1000);
  if (seconds > 86_400) return `${date.toLocaleDateString()} ${clock}`;
  return seconds < 60 ? l10n.t('{0}, just now', clock) : l10n.t('{0}, {1} ago', clock, formatSeconds(seconds));
}

/** One sentence for the end of a run. */
export function endSentence(run: ListedRun): string {
  const title = runTitle(run);
  if (run.state === 'finished') {
    const { result } = run;
    if (result === null) return l10n.t('{0} has finished.', title);
    const show = (value: number | null): string => showNumber(value, 'perplexity');
    return l10n.t(
      '{0} has finished: perplexity {1} (rounded to nearest {2}, float {3}).',
      title,
      show(perplexityOf(run)),
      show(result.perplexity.roundToNearest),
      show(result.perplexity.float),
    );
  }
  if (run.state === 'crashed') {
    return run.status.lastCheckpoint === null
      ? l10n.t('{0} has crashed at step {1}, before its first checkpoint.', title, run.status.step)
      : l10n.t(
          '{0} has crashed at step {1}; Resume goes on from the checkpoint of step {2}.',
          title,
          run.status.step,
          run.status.lastCheckpoint,
        );
  }
  return l10n.t('{0} has failed: {1}', title, run.status.error?.message ?? l10n.t('no reason was given'));
}

export function brokenText(entry: BrokenRun): string {
  return l10n.t('{0} cannot be shown: {1}', entry.name, entry.reason);
}

/** What a user can do with a run, as words for `viewItem` in when-clauses. */
export function contextWords(entry: RunEntry): string {
  if (entry.kind === 'broken') return 'broken';
  const { state, notes } = entry;
  const words = ['run', state];
  if (state === 'running') words.push('pausable');
  if (state === 'paused' || (isEnded(state) && state !== 'finished')) words.push('resumable');
  if (state === 'starting' || state === 'running' || state === 'paused') words.push('stoppable');
  if (isEnded(state)) words.push('ended');
  if (isEnded(state) && state !== 'finished' && state !== 'stale') words.push('queueable');
  words.push(notes.star === true ? 'starred' : 'unstarred');
  return words.join(' ');
}
