// Runs to compare, made up.
import { factsOf, type ComparedRun, type Json, type RunFacts } from '../../src/compare';
import { RESULT_SCHEMA, type RunResult } from '../../src/runs';
import { newStatus } from '../../src/runs/status-file';

export const result = (trained: number, of: Partial<RunResult> = {}): RunResult => ({
  schema: RESULT_SCHEMA,
  perplexity: { float: 10, roundToNearest: 20, trained, merged: trained },
  bitsPerWeight: 2.25,
  modelBytes: 3 * 1024 * 1024,
  gapClosed: (20 - trained) / 10,
  peakMemoryBytes: 1e7,
  residentMemoryBytes: 2e7,
  tokensPerSecond: 12_345,
  seconds: 75,
  ...of,
});

export function run(name: string, experiment: Json, of: Partial<ComparedRun> = {}): RunFacts {
  const status = newStatus('finished', 10, 0);
  return factsOf({ name, state: 'finished', status, experiment, result: null, notes: {}, events: [], ...of });
}
