// What is compared of a run: plain values that can be sent to a webview as they are.
import type { MetricsEvent } from '../runs/events';
import type { RunResult } from '../runs/result-values';
import type { DerivedState, RunStatus } from '../runs/status';
import { settingsOf, type Json } from './config-diff';
import { metricValues } from './metrics';

/** A run as its files tell it. */
export interface ComparedRun {
  /** Of the run's folder. */
  readonly name: string;
  /** What the user has added. */
  readonly notes: { readonly name?: string; readonly tags?: readonly string[] };
  readonly state: DerivedState;
  readonly status: RunStatus;
  /** experiment.json, parsed; undefined: there is none. */
  readonly experiment: unknown;
  readonly result: RunResult | null;
  /** Those that count (after resumes), in their order. Evaluations stand in for the result while there is none; nobody asks for
   *  others. */
  readonly events: readonly MetricsEvent[];
}

export interface RunFacts {
  /** Of the run's folder. */
  readonly name: string;
  /** What tables call the run: the name that the user gave, else the folder's. */
  readonly title: string;
  readonly tags: readonly string[];
  readonly state: DerivedState;
  /** By key of METRICS; null: not known. */
  readonly metrics: Readonly<Record<string, number | null>>;
  /** Values of the experiment by key: `quantization.weights.bits`. */
  readonly settings: Readonly<Record<string, Json>>;
  /** The model as it came, where the run's result says so; bytes of the whole model. */
  readonly float: { readonly bitsPerWeight: number; readonly modelBytes: number } | null;
}

export function factsOf(run: ComparedRun): RunFacts {
  const float = run.result?.float;
  return {
    name: run.name,
    title: run.notes.name === undefined || run.notes.name === '' ? run.name : run.notes.name,
    tags: run.notes.tags ?? [],
    state: run.state,
    metrics: metricValues(run),
    settings: settingsOf((run.experiment ?? null) as Json),
    float:
      float !== undefined && Number.isFinite(float.bitsPerWeight) && Number.isFinite(float.modelBytes)
        ? { bitsPerWeight: float.bitsPerWeight, modelBytes: float.modelBytes }
        : null,
  };
}

/** Titles that tell the runs apart: where two are the same, the folder's name stands behind. */
export function distinctTitles(runs: readonly Pick<RunFacts, 'name' | 'title'>[]): string[] {
  const seen = new Map<string, number>();
  for (const { title } of runs) seen.set(title, (seen.get(title) ?? 0) + 1);
  return runs.map(({ name, title }) => ((seen.get(title) ?? 0) > 1 && title !== name ? `${title} (${name})` : title));
}
