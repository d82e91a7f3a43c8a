// The fields of the form, derived from the experiment's schema: what a key may hold decides which control it gets. Only where a
// field stands, and which values are worth a stop of its slider, is said here.
import { activationSettings } from '../../src/experiment/activations';
import { allowed, view, type SchemaView } from '../../src/experiment/allowed';
import { divisors } from '../../src/experiment/divisors';
import { pathText } from '../../src/experiment/problem';
import { ExperimentSchema, LayerOverrideSchema, type Experiment } from '../../src/experiment/schema';
import type { FloatGroup } from '../../native/binding/addon';

export const GROUPS = [
  'model',
  'quantization',
  'activations',
  'start',
  'trained',
  'training',
  'distillation',
  'evaluation',
  'checkpoint',
  'engine',
  'other',
] as const;
export type GroupId = (typeof GROUPS)[number];

export interface Option {
  readonly value: string;
  readonly description: string;
}

/** What a field holds. */
export type Content =
  | {
      readonly kind: 'number';
      readonly integer: boolean;
      /** A word or null that stands in place of a number. */
      readonly instead: 'auto' | null | undefined;
    }
  /** A number that `off` switches off; `on` is where it begins when it is switched on. */
  | { readonly kind: 'switched'; readonly off: null | 0; readonly on: number }
  | { readonly kind: 'choice'; readonly options: readonly Option[] }
  | { readonly kind: 'choices'; readonly options: readonly Option[] }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'text' }
  /** Text, or a number of its own meaning: "6 GiB" or bytes. */
  | { readonly kind: 'textOrNumber' }
  | { readonly kind: 'model' }
  | { readonly kind: 'files' }
  | { readonly kind: 'granularity'; readonly options: readonly Option[]; readonly groupDescription: string }
  /** null, a preset, or an object of settings, each with a control of its own. */
  | { readonly kind: 'activations'; readonly presets: readonly Option[]; readonly settings: readonly Field[] }
  | { readonly kind: 'layers' }
  /** A key that this form has no control for: it is shown, and edited in the text. */
  | { readonly kind: 'unknown' };

export interface Field {
  readonly path: readonly string[];
  /** The same as text: `training.steps`. */
  readonly id: string;
  readonly group: GroupId;
  readonly advanced: boolean;
  readonly content: Content;
  readonly description: string;
  readonly hint: string | null;
  readonly unit: string | null;
  /** What the schema takes, in words. */
  readonly allowed: string;
  /** undefined: the key must be written. */
  readonly defaultValue: unknown;
}

/** By the longest beginning that fits. */
const PLACES: readonly (readonly [beginning: string, group: GroupId])[] = [
  ['name', 'model'],
  ['model', 'model'],
  ['data', 'model'],
  ['quantization', 'quantization'],
  ['quantization.activations', 'activations'],
  ['quantization.start', 'start'],
  ['quantization.gptq', 'start'],
  ['quantization.lowRank', 'trained'],
  ['quantization.lsq', 'trained'],
  ['quantization.learnScales', 'trained'],
  ['quantization.learnZeroPoints', 'trained'],
  ['training', 'training'],
  ['training.learningRate.norms', 'trained'],
  ['training.learningRate.head', 'trained'],
  ['training.learningRate.embeddings', 'trained'],
  ['training.distillation', 'distillation'],
  ['training.activationCheckpointing', 'engine'],
  ['evaluation', 'evaluation'],
  ['checkpoint', 'checkpoint'],
  ['device', 'engine'],
  ['compute', 'engine'],
  ['offload', 'engine'],
  ['threads', 'engine'],
  ['memoryLimit', 'engine'],
];

/** Shown when the user opens them: right as they are for nearly everybody. */
const ADVANCED: ReadonlySet<string> = new Set([
  'data.field',
  'data.packing',
  'quantization.weights.scaleDomain',
  'quantization.weights.scaleFormat',
  'quantization.lsq.gradientScaling',
  'quantization.fractionBits',
  'quantization.encoding',
  'training.finalLearningRateRatio',
  'training.beta1',
  'training.beta2',
  'training.epsilon',
  'training.weightDecay',
  'training.gradientClip',
  'training.seed',
  'evaluation.kinds',
  'evaluation.wikitext.files',
  'evaluation.wikitext.sequenceLength',
  'compute',
  'offload',
  'threads',
]);

/** Numbers of which one value means "not at all". Groups of float parameters begin at the default rate of trained weights, distillation
 *  at the share that docs/measurements chose for the sample. */
const SWITCHED: Readonly<Record<string, Extract<Content, { kind: 'switched' }>>> = {
  'training.learningRate.norms': { kind: 'switched', off: null, on: 5e-5 },
  'training.learningRate.head': { kind: 'switched', off: null, on: 5e-5 },
  'training.learningRate.embeddings': { kind: 'switched', off: null, on: 5e-5 },
  'training.distillation.weight': { kind: 'switched', off: 0, on: 0.75 },
};

/** All fields, in the order of the schema. */
export function fieldsOf(schema: SchemaView = view(ExperimentSchema), path: readonly string[] = []): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) => {
    const here = [...path, key];
    return child.properties === undefined ? [fieldOf(child, here)] : fieldsOf(child, here);
  });
}

function fieldOf(schema: SchemaView, path: readonly string[]): Field {
  const id = pathText(path);
  return {
    path,
    id,
    group: groupOf(id),
    advanced: ADVANCED.has(id),
    content: contentOf(schema, id),
    description: schema.description ?? '',
    hint: schema['x-hint'] ?? null,
    unit: schema['x-unit'] ?? null,
    allowed: allowed(schema),
    defaultValue: schema.default,
  };
}

/** Values that take the place of a key's own in turn. It stands beside the schema: one file, many experiments. */
export const SWEEP: Field = {
  path: ['sweep'],
  id: 'sweep',
  group: 'other',
  advanced: false,
  content: { kind: 'unknown' },
  description:
    'Values by key path: one run for every combination. What is shown beside is planned for the values above.',
  hint: null,
  unit: null,
  allowed: 'lists of values by key path',
  defaultValue: undefined,
};

/** Keys of an entry of `quantization.layers`, `match` first. */
export function layerFields(): Field[] {
  return fieldsOf(view(LayerOverrideSchema)).map((field) => ({ ...field, group: 'quantization', advanced: false }));
}

function groupOf(id: string): GroupId {
  const fitting = PLACES.filter(([beginning]) => id === beginning || id.startsWith(`${beginning}.`));
  return fitting.sort(([one], [other]) => other.length - one.length)[0]?.[1] ?? 'other';
}

function contentOf(schema: SchemaView, id: string): Content {
  if (id === 'model.path') return { kind: 'model' };
  if (id === 'quantization.activations') return activationsContent(schema);
  const switched = SWITCHED[id];
  if (switched !== undefined) return switched;
  if (schema.anyOf !== undefined) return contentOfUnion(schema.anyOf);
  if (schema.enum !== undefined) return { kind: 'choice', options: optionsOf(schema) };
  switch (schema.type) {
    case 'boolean':
      return { kind: 'boolean' };
    case 'integer':
    case 'number':
      return { kind: 'number', integer: schema.type === 'integer', instead: undefined };
    case 'string':
      return { kind: 'text' };
    case 'array':
      if (schema.items?.enum !== undefined) return { kind: 'choices', options: optionsOf(schema.items) };
      if (schema.items?.type === 'string') return { kind: 'files' };
      return id === 'quantization.layers' ? { kind: 'layers' } : { kind: 'unknown' };
    default:
      return { kind: 'unknown' };
  }
}

function activationsContent({ anyOf = [] }: SchemaView): Content {
  const presets = anyOf.find((part) => part.enum !== undefined);
  const object = anyOf.find(({ properties }) => properties !== undefined);
  if (presets === undefined || object === undefined) return { kind: 'unknown' };
  const defaults: Readonly<Record<string, unknown>> = { ...activationSettings({}), kvBits: null };
  const settings = fieldsOf(object, ['quantization', 'activations'])
    // Of a choice of one there is nothing to choose.
    .filter(({ content }) => content.kind !== 'choice' || content.options.length > 1)
    // The schema says in words alone what holds where a key is not written.
    .map((setting) => ({ ...setting, defaultValue: defaults[setting.path.at(-1) ?? ''] }));
  return { kind: 'activations', presets: optionsOf(presets), settings };
}

function contentOfUnion(parts: readonly SchemaView[]): Content {
  const number = parts.find(({ type }) => type === 'integer' || type === 'number');
  const group = parts.find(({ properties }) => properties?.['group'] !== undefined);
  const words = parts.find((part) => part.enum !== undefined);
  if (group !== undefined && words !== undefined) {
    return { kind: 'granularity', options: optionsOf(words), groupDescription: group.description ?? '' };
  }
  if (number === undefined) return { kind: 'unknown' };
  const integer = number.type === 'integer';
  if (parts.some(({ type }) => type === 'null')) return { kind: 'number', integer, instead: null };
  if (words?.enum?.length === 1 && words.enum[0] === 'auto') return { kind: 'number', integer, instead: 'auto' };
  return parts.some(({ type }) => type === 'string') ? { kind: 'textOrNumber' } : { kind: 'unknown' };
}

function optionsOf({ enum: values = [], enumDescriptions = [] }: SchemaView): Option[] {
  return values.map((value, at) => ({ value, description: enumDescriptions[at] ?? '' }));
}

/** What is known of the model beside the schema. */
export interface Bounds {
  /** Smaller side of the smallest quantized linear; Infinity: not known. */
  readonly largestRank: number;
  readonly maxPositions: number;
  /** How many numbers training a group would train; null: not known. */
  readonly floats: Readonly<Record<FloatGroup, number>> | null;
}

/** Values at which the slider of a field stops, ascending; null: the field has no slider. */
export function sliderStops(id: string, experiment: Experiment, bounds: Bounds): readonly number[] | null {
  switch (id) {
    case 'quantization.weights.bits':
    case 'quantization.activations.bits':
    case 'quantization.activations.kvBits':
      return [2, 3, 4, 5, 6, 7, 8];
    case 'quantization.lowRank.rank':
      return [0, 1, 2, 4, 8, 16, 32, 64, 128, 256].filter((rank) => rank <= bounds.largestRank);
    case 'data.sequenceLength':
      return powers(64, Math.min(bounds.maxPositions, 32_768));
    case 'training.batchSize':
      return powers(1, 512);
    case 'training.microBatchSize': {
      const { batchSize } = experiment.training;
      return Number.isSafeInteger(batchSize) && batchSize > 0 && batchSize <= 1_048_576 ? divisors(batchSize) : null;
    }
    case 'training.steps':
      return [50, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500, 10_000, 20_000, 50_000, 100_000];
    case 'training.distillation.weight':
      return Array.from({ length: 20 }, (_, index) => (index + 1) / 20);
    case 'training.distillation.topK':
      return powers(4, 1024);
    case 'training.distillation.temperature':
      return [0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 8, 10];
    case 'training.warmupRatio':
      return Array.from({ length: 51 }, (_, index) => index / 100);
    default:
      return null;
  }
}

function powers(from: number, to: number): number[] {
  const values: number[] = [];
  for (let value = from; value <= to; value *= 2) values.push(value);
  return values.length > 1 ? values : [from, from * 2];
}

/** The number that a slider stands at: of null the one that it stands for. */
export function numberAt(id: string, value: unknown, experiment: Experiment): number {
  if (value !== null || id !== 'quantization.activations.kvBits') return Number(value);
  const { activations } = experiment.quantization;
  return activations === null ? Number.NaN : activationSettings(activations).bits;
}

/** The stop nearest to a value. */
export function nearestStop(stops: readonly number[], value: number): number {
  let best = 0;
  stops.forEach((stop, index) => {
    if (Math.abs(stop - value) < Math.abs((stops[best] ?? 0) - value)) best = index;
  });
  return best;
}
