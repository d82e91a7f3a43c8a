// The numbers by which runs are compared.
import type { RunResult } from '../runs/result-values';
import type { ComparedRun } from './facts';

export type Unit = 'perplexity' | 'bits' | 'bytes' | 'share' | 'tokens/s' | 'seconds' | 'steps' | 'nats';

export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: Unit;
  readonly better: 'lower' | 'higher' | 'neither';
}

interface MeasuredMetric extends Metric {
  readonly value: (run: ComparedRun) => number | null | undefined;
}

const MEASURED: readonly MeasuredMetric[] = [
  perplexity('float', 'float', 'float', 'neither'),
  perplexity('roundToNearest', 'round-to-nearest', 'round-to-nearest', 'lower'),
  perplexity('trained', 'trained', 'trained', 'lower'),
  perplexity('merged', 'merged', 'merged', 'lower'),
  {
    key: 'bestTrained',
    label: 'best trained perplexity',
    unit: 'perplexity',
    better: 'lower',
    value: (run) => run.status.best?.perplexity,
  },
  { key: 'gapClosed', label: 'gap closed', unit: 'share', better: 'higher', value: (run) => run.result?.gapClosed },
  {
    key: 'bitsPerWeight',
    label: 'bits per weight',
    unit: 'bits',
    better: 'lower',
    value: (run) => run.result?.bitsPerWeight,
  },
  { key: 'modelBytes', label: 'model size', unit: 'bytes', better: 'lower', value: (run) => run.result?.modelBytes },
  {
    key: 'loss',
    label: 'last training loss',
    unit: 'nats',
    // Of one batch, and of another loss where training follows the float model.
    better: 'neither',
    value: (run) => run.status.loss,
  },
  {
    key: 'peakMemoryBytes',
    label: 'engine memory',
    unit: 'bytes',
    better: 'lower',
    value: (run) => run.result?.peakMemoryBytes ?? run.status.memory?.engine,
  },
  {
    key: 'tokensPerSecond',
    label: 'speed',
    unit: 'tokens/s',
    better: 'higher',
    // What trains nothing has none.
    value: ({ result, status }) => positive(result?.tokensPerSecond ?? status.tokensPerSecond),
  },
  { key: 'seconds', label: 'time', unit: 'seconds', better: 'lower', value: (run) => run.result?.seconds },
  { key: 'step', label: 'steps done', unit: 'steps', better: 'neither', value: (run) => run.status.step },
];

export const METRICS: readonly Metric[] = MEASURED.map(({ key, label, unit, better }) => ({
  key,
  label,
  unit,
  better,
}));

/** Of every metric its value, null where it is not known. */
export function metricValues(run: ComparedRun): Record<string, number | null> {
  return Object.fromEntries(MEASURED.map(({ key, value }) => [key, finite(value(run))]));
}

/** Whether each value is the best one (all of them where several are). None is where fewer than two are known or all are the
 *  same: that would say nothing. */
export function isBest(values: readonly (number | null)[], better: Metric['better']): boolean[] {
  const known = values.filter((value) => value !== null);
  const best = better === 'higher' ? Math.max(...known) : Math.min(...known);
  const says = better !== 'neither' && known.length > 1 && known.some((value) => value !== best);
  return values.map((value) => says && value === best);
}

/** Of the result, or while there is none the last evaluation of that form. */
function perplexity(
  key: keyof RunResult['perplexity'],
  form: string,
  name: string,
  better: Metric['better'],
): MeasuredMetric {
  return {
    key: `perplexity.${key}`,
    label: `${name} perplexity`,
    unit: 'perplexity',
    better,
    value: ({ result, events }) => {
      if (result !== null) return result.perplexity[key];
      const evaluations = events.filter((event) => event.type === 'eval');
      // The result is about the first kind that was measured.
      const kind = evaluations[0]?.kind;
      return evaluations.findLast((event) => event.form === form && event.kind === kind)?.perplexity;
    },
  };
}

function positive(value: number | null | undefined): number | null {
  return typeof value === 'number' && value > 0 ? value : null;
}

function finite(value: number | null | undefined): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
