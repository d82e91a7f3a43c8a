// What a finished run came to. Free of Node, so that a webview can use it.
import { isRecord } from './is-record';

/** Perplexity by form of the weights; null: not measured, or not finite. */
export interface FourPerplexities {
  readonly float: number | null;
  readonly roundToNearest: number | null;
  readonly trained: number | null;
  readonly merged: number | null;
}

export interface RunResult {
  readonly schema: number;
  /** Of the first evaluation kind. */
  readonly perplexity: FourPerplexities;
  /** By evaluation kind, where there is more than one. */
  readonly evaluations?: Readonly<Record<string, FourPerplexities>>;
  /** Of the quantized linears, scales included. */
  readonly bitsPerWeight: number;
  /** Bytes of the whole merged model. */
  readonly modelBytes: number;
  /** The same for the model as it came. */
  readonly float?: { readonly bitsPerWeight: number; readonly modelBytes: number };
  /** (round-to-nearest − trained) / (round-to-nearest − float) in perplexity; null where rounding cost nothing. */
  readonly gapClosed: number | null;
  /** Allocated by the engine. */
  readonly peakMemoryBytes: number;
  /** Largest resident set of the process. */
  readonly residentMemoryBytes: number;
  readonly tokensPerSecond: number;
  /** Time that trainers have worked on the run. */
  readonly seconds: number;
}

export const RESULT_SCHEMA = 1;

/** Share of the perplexity that rounding cost which training has won back. */
export function gapClosed(perplexity: FourPerplexities): number | null {
  const { float, roundToNearest, trained } = perplexity;
  if (float === null || roundToNearest === null || trained === null) return null;
  const gap = roundToNearest - float;
  return gap > 0 ? (roundToNearest - trained) / gap : null;
}

/** Missing numbers of a result written by another version become NaN or null, which tables show as a dash. */
export function parseResult(value: unknown): RunResult | null {
  if (!isRecord(value) || !isRecord(value.perplexity)) return null;
  const number = (key: string): number => (typeof value[key] === 'number' ? value[key] : NaN);
  const { evaluations, float, ...rest } = value;
  return {
    ...rest,
    schema: number('schema'),
    perplexity: parsePerplexities(value.perplexity),
    ...(isRecord(evaluations) ? { evaluations: parseEvaluations(evaluations) } : {}),
    ...(isRecord(float) && typeof float.bitsPerWeight === 'number' && typeof float.modelBytes === 'number'
      ? { float: { bitsPerWeight: float.bitsPerWeight, modelBytes: float.modelBytes } }
      : {}),
    bitsPerWeight: number('bitsPerWeight'),
    modelBytes: number('modelBytes'),
    gapClosed: typeof value.gapClosed === 'number' ? value.gapClosed : null,
    peakMemoryBytes: number('peakMemoryBytes'),
    residentMemoryBytes: number('residentMemoryBytes'),
    tokensPerSecond: number('tokensPerSecond'),
    seconds: number('seconds'),
  };
}

function parseEvaluations(value: Record<string, unknown>): Record<string, FourPerplexities> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([kind, four]) => (isRecord(four) ? [[kind, parsePerplexities(four)]] : [])),
  );
}

function parsePerplexities(value: Record<string, unknown>): FourPerplexities {
  const number = (key: string): number | null => (typeof value[key] === 'number' ? value[key] : null);
  return {
    float: number('float'),
    roundToNearest: number('roundToNearest'),
    trained: number('trained'),
    merged: number('merged'),
  };
}
