// Series as comma-separated values (RFC 4180), in the long form that data frames like: one line a run and step.
import { lowerBound } from '../../shared/series/columns';
import { averageOf } from '../../shared/series/smoothed';
import { after } from '../../shared/series/thin';
import type { RowColumn, XAxis } from '../protocol';
import type { Range } from '../../shared/series/axis';
import type { RunData } from './run-data';

export interface CsvRun {
  readonly name: string;
  readonly data: RunData;
}

export interface CsvChoice {
  /** Columns beside run, step, tokens, seconds and time. */
  readonly columns: readonly RowColumn[];
  /** Also the smoothed columns, with this weight; 0: none. */
  readonly smoothing: number;
  readonly smoothed: readonly RowColumn[];
  readonly x: XAxis;
  /** Rows whose x lies outside are left out; null: all. */
  readonly range: Range | null;
}

const NAMES: Partial<Record<RowColumn, string>> = {
  learningRateLowRank: 'learning_rate_low_rank',
  learningRateScales: 'learning_rate_scales',
  learningRateZeroPoints: 'learning_rate_zero_points',
  learningRateWeights: 'learning_rate_weights',
  learningRateNorms: 'learning_rate_norms',
  learningRateHead: 'learning_rate_head',
  learningRateEmbeddings: 'learning_rate_embeddings',
  learningRateActivations: 'learning_rate_activations',
  gradientNorm: 'gradient_norm',
  tokensPerSecond: 'tokens_per_second',
  memoryEngine: 'memory_engine_bytes',
  memoryResident: 'memory_resident_bytes',
  crossEntropy: 'cross_entropy',
  gpuUtilization: 'gpu_utilization',
  gpuWatts: 'gpu_watts',
  gpuCelsius: 'gpu_celsius',
  gpuMemory: 'gpu_memory_bytes',
};

/** Pieces of the file, so that a long one need not be held as one string. */
export function* rowsCsv(runs: readonly CsvRun[], choice: CsvChoice): Generator<string, void, undefined> {
  const smoothed = choice.smoothing > 0 ? choice.smoothed : [];
  const nameOf = (column: RowColumn) => NAMES[column] ?? column;
  yield line([
    ...['run', 'step', 'tokens', 'seconds', 'time'],
    ...choice.columns.map(nameOf),
    ...smoothed.map((column) => `${nameOf(column)}_smoothed`),
  ]);
  for (const { name, data } of runs) {
    const x = data.x(choice.x);
    const from = choice.range === null ? 0 : lowerBound(x, choice.range.min);
    const to = choice.range === null ? x.length : after(x, choice.range.max);
    const [step, tokens, elapsed, time] = (['step', 'tokens', 'elapsed', 'time'] as const).map((column) =>
      data.rows.column(column),
    );
    const columns = [
      ...choice.columns.map((column) => data.rows.column(column)),
      // Computed here: what the charts draw may still be on its way to this weight.
      ...smoothed.map((column) => averageOf(data.rows.column(column), choice.smoothing)),
    ];
    let piece = '';
    for (let row = from; row < to; row++) {
      piece += line([
        name,
        number(step?.[row]),
        number(tokens?.[row]),
        number((elapsed?.[row] ?? NaN) / 1000),
        date(time?.[row]),
        ...columns.map((column) => number(column[row])),
      ]);
      if (piece.length > 1 << 20) {
        yield piece;
        piece = '';
      }
    }
    yield piece;
  }
}

export function* evaluationsCsv(runs: readonly CsvRun[]): Generator<string, void, undefined> {
  yield line(['run', 'step', 'tokens', 'seconds', 'time', 'kind', 'form', 'perplexity']);
  for (const { name, data } of runs) {
    for (const { step, tokens, elapsed, time, kind, form, perplexity } of data.evaluations) {
      const place = [number(step), number(tokens), number(elapsed / 1000), date(time)];
      yield line([name, ...place, kind, form, number(perplexity ?? NaN)]);
    }
  }
}

export function* layersCsv(runs: readonly CsvRun[]): Generator<string, void, undefined> {
  yield line(['run', 'step', 'layer', 'clipped_share', 'flipped_share', 'scale_drift']);
  for (const { name, data } of runs) {
    const column = (of: 'step' | 'layer' | 'clippedShare' | 'flippedShare' | 'scaleDrift') => data.layers.column(of);
    for (let row = 0; row < data.layers.length; row++) {
      yield line([
        name,
        number(column('step')[row]),
        data.layerNames[column('layer')[row] ?? -1] ?? '',
        number(column('clippedShare')[row]),
        number(column('flippedShare')[row]),
        number(column('scaleDrift')[row]),
      ]);
    }
  }
}

/** Shortest text that reads back as the same number; empty where there is none. */
function number(value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? '' : String(value);
}

function date(time: number | undefined): string {
  return time === undefined || !(Math.abs(time) <= 8.64e15) ? '' : new Date(time).toISOString();
}

function line(fields: readonly string[]): string {
  return `${fields.map(field).join(',')}\r\n`;
}

function field(text: string): string {
  // A name that begins like a formula would be run by spreadsheets; numbers may begin with a minus.
  const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
