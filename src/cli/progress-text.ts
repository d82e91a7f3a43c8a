// What is said about a run under way: pure functions from status and events to text.
import { showNumber } from '../compare';
import { formatBytes, formatCount, formatSeconds } from '../experiment';
import type { DerivedState, EvalEvent, MetricsEvent, RunStatus, StepEvent } from '../runs';
import { textWidth } from './text-width';

/** What the live line is made of. */
export interface LiveView {
  readonly state: DerivedState;
  readonly status: RunStatus;
  readonly lastStep: StepEvent | null;
}

const FULL_BAR = 24;
const SMALL_BAR = 10;

/** One line of at most `width` columns: what matters most stays when there is little room. */
export function liveLine(view: LiveView, width: number, bar: (share: number, size: number) => string): string {
  const { lastStep } = view;
  // Events come as they happen, the status file is written at leisure: a step after it ends the phase it tells of.
  const ahead = lastStep !== null && lastStep.step > view.status.step;
  const status = ahead ? { ...view.status, step: lastStep.step, phase: null, progress: null } : view.status;
  const training = view.state === 'running' && status.phase === null;
  const counted = status.progress ?? (status.totalSteps > 0 ? { done: status.step, total: status.totalSteps } : null);
  const share = counted !== null && counted.total > 0 ? Math.min(1, counted.done / counted.total) : 0;
  const what = training ? '' : (status.phase ?? view.state);
  const count = counted === null ? '' : `${String(counted.done)}/${String(counted.total)}`;
  const step = status.progress === null ? count : `${String(status.step)}/${String(status.totalSteps)}`;
  const head = [what, status.progress === null ? '' : count].filter((text) => text !== '').join(' ');
  // From most to least important.
  const numbers =
    lastStep === null
      ? []
      : [
          `loss ${showNumber(lastStep.loss, 'nats')}`,
          ...(status.etaSeconds === null || !training ? [] : [`ETA ${formatSeconds(status.etaSeconds)}`]),
          `${formatCount(lastStep.tokensPerSecond)} tok/s`,
          `lr ${learningRate(lastStep)}`,
          formatBytes(lastStep.memory.engine),
        ];
  const steps = status.totalSteps > 0 && (training || lastStep !== null || head === '') ? [`step ${step}`] : [];
  for (let shown = numbers.length; shown >= 0; shown--) {
    for (const size of [FULL_BAR, SMALL_BAR, 0]) {
      const pieces = [size > 0 ? bar(share, size) : '', head, ...steps, ...numbers.slice(0, shown)];
      const line = pieces.filter((text) => text !== '').join('  ');
      // A smaller bar goes before a number goes.
      if (textWidth(line) <= width) return line;
    }
  }
  return head === '' ? (steps[0] ?? '') : head;
}

function learningRate({ learningRate: { lowRank, scales, weights } }: StepEvent): string {
  return `${shortExponent(weights ?? lowRank)}/${shortExponent(scales)}`;
}

/** `1.0e-3`. */
function shortExponent(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}

/** A step as a line of a log. */
export function stepLine(event: StepEvent, status: Pick<RunStatus, 'totalSteps' | 'etaSeconds'>): string {
  if (event.skipped === true) {
    return `step ${String(event.step)}/${String(status.totalSteps)}  skipped: loss or gradient was not finite`;
  }
  return [
    `step ${String(event.step)}/${String(status.totalSteps)}`,
    `loss ${showNumber(event.loss, 'nats')}`,
    `lr ${learningRate(event)}`,
    `${formatCount(event.tokensPerSecond)} tok/s`,
    ...(status.etaSeconds === null ? [] : [`ETA ${formatSeconds(status.etaSeconds)}`]),
    formatBytes(event.memory.engine),
  ].join('  ');
}

/** An evaluation, with what is known of the others of its kind to set it against. */
export function evalLine(event: EvalEvent, earlier: readonly MetricsEvent[]): string {
  const sameKind = earlier.filter((other) => other.type === 'eval').filter((other) => other.kind === event.kind);
  const of = (form: EvalEvent['form']): number | null =>
    sameKind.findLast((other) => other.form === form)?.perplexity ?? null;
  const text = `step ${String(event.step)}  ${event.kind}: ${event.form} perplexity ${showNumber(event.perplexity, 'perplexity')}`;
  if (event.form !== 'trained' && event.form !== 'merged') return text;
  const float = of('float');
  const rounded = of('round-to-nearest');
  const known = [
    ...(float !== null ? [`float ${showNumber(float, 'perplexity')}`] : []),
    ...(rounded !== null ? [`round-to-nearest ${showNumber(rounded, 'perplexity')}`] : []),
  ];
  const gap =
    float !== null && rounded !== null && rounded > float && event.perplexity !== null
      ? [`gap closed ${showNumber((rounded - event.perplexity) / (rounded - float), 'share')}`]
      : [];
  return known.length === 0 ? text : `${text}  (${[...gap, ...known].join(', ')})`;
}

/** Events that are worth a line of their own; null for those that are not. */
export function eventLine(event: MetricsEvent, earlier: readonly MetricsEvent[]): string | null {
  switch (event.type) {
    case 'eval':
      return evalLine(event, earlier);
    case 'checkpoint':
      return `step ${String(event.step)}  checkpoint written`;
    case 'resume':
      return event.fromStep > 0 ? `resumed from step ${String(event.fromStep)}` : 'started again from the beginning';
    case 'start':
    case 'attempt':
    case 'step':
    case 'end':
      return null;
  }
}
