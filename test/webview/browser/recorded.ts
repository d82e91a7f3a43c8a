// Runs of the sample, recorded with `lrqat train samples/first-run/w2-rank32.lrqat.json`. The second one (rank 8) was killed
// after step 68 and resumed from its checkpoint of step 50.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseLayersLine, parseMetricsLine, type LayersEvent, type MetricsEvent } from '../../../src/runs';

export interface RecordedRun {
  readonly name: string;
  readonly events: readonly MetricsEvent[];
  readonly layers: readonly LayersEvent[];
}

export function recordedRun(name: 'w2-rank32' | 'w2-rank8'): RecordedRun {
  const lines = (file: string) =>
    readFileSync(path.join('test/webview/browser/runs', name, file), 'utf8')
      .trimEnd()
      .split('\n');
  return {
    name,
    events: lines('metrics.jsonl')
      .map(parseMetricsLine)
      .filter((event) => event !== null),
    layers: lines('layers.jsonl')
      .map(parseLayersLine)
      .filter((event) => event !== null),
  };
}

/** Events up to and with a step. */
export function until(run: RecordedRun, step: number): RecordedRun {
  const last = run.events.findIndex((event) => event.type === 'step' && event.step === step);
  return {
    ...run,
    events: run.events.slice(0, last + 1),
    layers: run.layers.filter((event) => event.type === 'layer' && event.step <= step),
  };
}
