// The contract between the form of an experiment and its host. The text of the file is the only truth: the page asks for changes
// of it, the host makes them as edits of the document and tells how the file stands then. What a slider shows while it moves is the
// page's own; nothing of it reaches the file before the release.
import type { EstimateInput } from '../../src/experiment/estimate';
import {
  array,
  boolean,
  buffer,
  CheckError,
  count,
  nullable,
  number,
  object,
  oneOf,
  string,
  type Check,
  type Checked,
} from '../shared/check';
import { command, notification } from '../shared/messages';

/** Keys and list positions from the root on: `['quantization', 'layers', 1, 'match']`. */
export type Path = readonly (string | number)[];

const path: Check<Path> = array((value: unknown, at: string): string | number => {
  if (typeof value === 'string' || (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0))
    return value;
  throw new CheckError(`${at}: expected a key or a position`);
});

/** Deeper than any value of an experiment. */
const MAX_DEPTH = 16;

/** Anything that JSON can say. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const json: Check<Json> = (value, at) => {
  checkJson(value, at, 0);
  return value as Json;
};

function checkJson(value: unknown, at: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new CheckError(`${at}: nested too deep`);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw new CheckError(`${at}: expected JSON, got ${typeof value}`);
  for (const [key, item] of Object.entries(value)) checkJson(item, `${at}.${key}`, depth + 1);
}

// ── Host → form ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const problem = object({
  /** `training.steps`, `quantization.layers[1].match`; empty: the file as a whole. */
  path: string,
  severity: oneOf(['error', 'warning']),
  message: string,
  hint: nullable(string),
  /** From 1. */
  line: count,
  column: count,
  /** Titles of the quick fixes. */
  fixes: array(string),
});
export type FormProblem = Checked<typeof problem>;

const broken = object({ message: string, line: count, column: count });

/** How the file stands. Sent at the start, after every change of the text, and when the problems have been looked at anew. */
export const State = notification(
  'form/state',
  object({
    /** Of the document: quick fixes name it. */
    version: count,
    /** The file's name without its folder. */
    file: string,
    /** What the text says, without defaults; the last that could be read where it is broken. */
    written: json,
    /** The text is no JSON object: the form cannot be edited until it is. */
    broken: nullable(broken),
    problems: array(problem),
  }),
);
export type FormState = Parameters<typeof State.of>[0];

type Shape = EstimateInput['shape'];

const ropeScaling: Check<Shape['ropeScaling']> = (value, at) => {
  const { type } = object({ type: oneOf(['none', 'linear', 'llama3']) })(value, at);
  if (type !== 'none') object({ factor: number })(value, at);
  if (type === 'llama3') {
    object({ lowFrequencyFactor: number, highFrequencyFactor: number, originalMaxPositions: number })(value, at);
  }
  return value as Shape['ropeScaling'];
};

const shape = object({
  architecture: oneOf(['llama', 'mistral', 'qwen2', 'qwen3']),
  hiddenSize: count,
  intermediateSize: count,
  layers: count,
  heads: count,
  kvHeads: count,
  headDim: count,
  vocabSize: count,
  maxPositions: count,
  rmsNormEpsilon: number,
  ropeTheta: number,
  ropeScaling,
  slidingWindow: nullable(count),
  qkvBias: boolean,
  outputBias: boolean,
  mlpBias: boolean,
  qkNorm: boolean,
  tiedEmbeddings: boolean,
});

/** What the planner needs beside the experiment. Sent when it is known and when it changes. */
export const Facts = notification(
  'form/facts',
  object({
    /** Opaque: weights of another model have another one. */
    model: string,
    shape,
    machine: object({ totalMemory: number, cores: count, nativeBf16: boolean, device: oneOf(['cpu', 'cuda']) }),
    calibration: object({
      gemm: number,
      attention: number,
      thin: number,
      weightGradients: number,
      rebuild: number,
      rebuildBytes: number,
      bytes: number,
      evaluation: number,
      teacher: number,
      start: nullable(object({ inputs: number, rounding: number, singular: number })),
      measured: boolean,
    }),
  }),
);
export type PlanningFacts = Parameters<typeof Facts.of>[0];

const sampleShape = object({ model: string, linear: string, rows: count, columns: count, values: buffer });

/** Whole rows of a linear's weight, evenly spread over it, as float32 in the platform's byte order. */
export const Weights = notification('form/weights', (value: unknown, at: string) => {
  const sample = sampleShape(value, at);
  const wanted = sample.rows * sample.columns * Float32Array.BYTES_PER_ELEMENT;
  if (sample.values.byteLength !== wanted) {
    throw new CheckError(`${at}.values: expected ${String(wanted)} bytes, got ${String(sample.values.byteLength)}`);
  }
  return sample;
});

/** Why there are none. */
export const WeightsMissing = notification(
  'form/weightsMissing',
  object({ model: string, linear: string, message: string }),
);

// ── Form → host ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The page runs and knows nothing yet. */
export const Ready = command('form/ready', object({}));

/** Write a value. One undo step. */
export const Set = command('form/set', object({ path, value: json }));

/** Write several values together. One undo step. */
export const SetAll = command('form/setAll', object({ values: array(object({ path, value: json })) }));

/** Take a key, or an element of a list, out of the text, so that a key's default applies. */
export const Remove = command('form/remove', object({ path }));

/** Append to a list, which is made where it is not in the text. */
export const Append = command('form/append', object({ path, value: json }));

/** Let the user pick a model folder, or files for a list. */
export const Pick = command('form/pick', object({ path, what: oneOf(['model', 'files']) }));

/** Apply a quick fix; refused when text or problems are not those any more. */
export const Fix = command('form/fix', object({ version: count, problem: count, fix: count, title: string }));

/** Show the text, at the place of a key, or at a line and column from 1. */
export const ShowText = command(
  'form/showText',
  object({ path: nullable(path), position: nullable(object({ line: count, column: count })) }),
);

export const RequestWeights = command('form/requestWeights', object({ model: string, linear: string }));

export const StartTraining = command('form/startTraining', object({}));

/** For the host's log. */
export const Report = command('form/report', object({ message: string }));

// ── State of the page, kept by VS Code over reloads ──────────────────────────────────────────────────────────────────────────

const state = object({
  version: oneOf(['1']),
  /** Groups whose advanced settings are shown. */
  open: array(string),
  /** Linear of the weight picture; null: the first. */
  linear: nullable(string),
  /** Scrolled so far, pixels. */
  scroll: number,
});
export type PageState = Checked<typeof state>;

export function pageState(value: unknown): PageState | null {
  try {
    return state(value, 'state');
  } catch (error) {
    if (error instanceof CheckError) return null;
    throw error;
  }
}
