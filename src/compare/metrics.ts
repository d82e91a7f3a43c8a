// The numbers by which runs are compared, with their differences from the first run.
import type { MetricsEvent, RunResult, RunStatus, DerivedState } from '../runs';
import type { Json } from './config-diff';

/** All that is compared of a run. */
export interface ComparedRun {
  readonly name: string;
  readonly state: DerivedState;
  readonly status: RunStatus;
  readonly experiment: Json;
  readonly result: RunResult | null;
  /** Effective events (after resumes); stand in for the result while a run is under way. */
  readonly events: readonly MetricsEvent[];
}

export type Unit = 'perplexity' | 'bits' | 'bytes' | 'share' | 'tokens/s' | 'seconds' | 'steps' | 'nats';

export interface MetricRow {
  readonly key: string;
  readonly label: string;
  readonly unit: Unit;
  readonly better: 'lower' | 'higher' | 'neither';
  /** By run; null: not known. */
  readonly values: readonly (number | null)[];
  /** By run, minus the first run's value; null for the first and where a side is not known. */
  readonly deltas: readonly (number | null)[];
}

interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: Unit;
  readonly better: MetricRow['better'];
  readonly value: (run: ComparedRun) => number | null | undefined;
}

const METRICS: readonly Metric[] = [
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
    better: 'lower',
    value: (run) => run.events.findLast((event) => event.type === 'step')?.loss ?? run.status.loss,
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
    value: (run) => run.result?.tokensPerSecond ?? run.status.tokensPerSecond,
  },
  { key: 'seconds', label: 'time', unit: 'seconds', better: 'lower', value: (run) => run.result?.seconds },
  { key: 'step', label: 'steps done', unit: 'steps', better: 'neither', value: (run) => run.status.step },
];

/** Rows for which at least one run has a value. */
export function metricRows(runs: readonly ComparedRun[]): MetricRow[] {
  return METRICS.map(({ value, ...metric }) => {
    const values = runs.map((run) => finite(value(run)));
    return { ...metric, values, deltas: values.map((each, index) => (index === 0 ? null : minus(each, values[0]))) };
  }).filter((row) => row.values.some((value) => value !== null));
}

/** Of the result, or while there is none the last evaluation of that form. */
function perplexity(
  key: keyof RunResult['perplexity'],
  form: string,
  name: string,
  better: MetricRow['better'],
): Metric {
  return {
    key: `perplexity.${key}`,
    label: `${name} perplexity`,
    unit: 'perplexity',
    better,
    value: (run) => {
      const evaluations = run.events.filter((event) => event.type === 'eval');
      // The result is about the first kind that was measured.
      const kind = evaluations[0]?.kind;
      return (
        run.result?.perplexity[key] ??
        evaluations.findLast((event) => event.form === form && event.kind === kind)?.perplexity
      );
    },
  };
}

function finite(value: number | null | undefined): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function minus(value: number | null, base: number | null | undefined): number | null {
  return value === null || base === null || base === undefined ? null : value - base;
}
