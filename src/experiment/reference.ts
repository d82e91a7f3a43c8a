// What ships beside the code but is made from the schema: the JSON schema for editors and the reference page.

import type { TSchema } from '@sinclair/typebox';

import { allowed, view, type SchemaView } from './allowed';
import { ExperimentSchema } from './schema';
import { MAX_SWEEP_RUNS } from './sweep';
import { sweepable } from './sweep-keys';

/** JSON schema of an experiment as written (draft 7, what editors understand): only keys without default are required. */
export function jsonSchema(): Record<string, unknown> {
  const written = asWritten(ExperimentSchema) as { properties: Record<string, unknown> };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'LR-QAT experiment',
    allowComments: true,
    allowTrailingCommas: true,
    ...written,
    properties: {
      $schema: { type: 'string', description: 'Place of this schema; only for editors.' },
      ...written.properties,
      sweep: sweepSchema(),
    },
  };
}

const SWEEP =
  'Several runs from one file: for each key path a list of values, for each combination of values a run. The runs are queued.';

/** Completion and hover of a swept key's values are those of the key. */
function sweepSchema(): Record<string, unknown> {
  const lists = [...sweepable].map(([path, schema]) => {
    const { default: _, ...values } = asWritten(schema) as Record<string, unknown>;
    const description = `Values of ${path} to run. ${schema.description ?? ''}`;
    return [path, { type: 'array', minItems: 1, items: values, description, defaultSnippets: LIST_SNIPPETS }] as const;
  });
  return {
    type: 'object',
    description: SWEEP,
    additionalProperties: false,
    properties: Object.fromEntries(lists),
    defaultSnippets: [
      {
        label: '{ "quantization.weights.bits": [2, 3, 4] }',
        description: 'A run for each of some bit widths.',
        body: { 'quantization.weights.bits': [2, 3, 4] },
      },
    ],
  };
}

const LIST_SNIPPETS = [{ label: '[ ]', body: ['$1'] }];

/** The same schema for completion and hover beside our own validation: it says what there is and forbids nothing, because every
 *  problem would otherwise be shown twice, once in words that do not know the field. */
export function completionSchema(): Record<string, unknown> {
  return permissive(jsonSchema()) as Record<string, unknown>;
}

const FORBIDDING: ReadonlySet<string> = new Set([
  'required',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minLength',
  'maxLength',
  'minItems',
  'pattern',
  'uniqueItems',
]);

function permissive(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(permissive);
  if (typeof schema !== 'object' || schema === null) return schema;
  const { enum: words, enumDescriptions, properties } = schema as SchemaView;
  const kept = Object.entries(schema).flatMap(([key, value]): [string, unknown][] => {
    if (FORBIDDING.has(key) || key === 'additionalProperties' || key === 'enum' || key === 'enumDescriptions')
      return [];
    // Of types only those stay that completion needs to insert braces and brackets.
    if (key === 'type' && properties === undefined) return [];
    if (key === 'anyOf') return [['anyOf', [...(permissive(value) as unknown[]), {}]]];
    if (key === 'properties') return [[key, mapValues(value as object, permissive)]];
    return [[key, key === 'items' ? permissive(value) : value]];
  });
  // Snippets complete like an enumeration does, and do not complain about other words.
  const snippets = (words ?? []).map((word, index) => ({
    label: word,
    body: word,
    ...(enumDescriptions?.[index] === undefined ? {} : { description: enumDescriptions[index] }),
  }));
  return { ...Object.fromEntries(kept), ...(snippets.length === 0 ? {} : { defaultSnippets: snippets }) };
}

function mapValues(record: object, change: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}

/** A plain copy without the library's symbols, `required` reduced to what has no default. */
function asWritten(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(asWritten);
  if (typeof schema !== 'object' || schema === null) return schema;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, asWritten(value)]));
  const { properties, required } = schema as SchemaView;
  if (properties && required) {
    const needed = required.filter((key) => !('default' in (properties[key] ?? {})));
    if (needed.length > 0) copy['required'] = needed;
    else delete copy['required'];
  }
  return copy;
}

/** docs/experiment-file.md. */
export function referencePage(): string {
  const sections = Object.entries(ExperimentSchema.properties);
  const simple = sections.filter(([, schema]) => !view(schema).properties);
  const nested = sections.filter(([, schema]) => view(schema).properties);
  return `${[
    '# The experiment file',
    '<!-- Made from src/experiment/schema.ts by `node scripts/generate-schema.mjs`; do not edit. -->',
    'A file `NAME.lrqat.json` describes one run, or several with [`sweep`](#sweep). It is JSON; comments and trailing commas are allowed. Only `model.path` and `data.train` must be written, everything else has a default. Relative paths start at the folder of the file.',
    'The smallest experiment:',
    ['```jsonc', smallest, '```'].join('\n'),
    'On the command line `--set key.path=value` replaces a value for one run: `--set training.steps=100`, `--set quantization.weights.bits=3`, `--set quantization.layers[0].skip=true`. `--set key.path=` takes a key out, so that its default applies, and `--set quantization.layers[]={…}` appends to a list.',
    '## Top level',
    ...simple.map(([key, schema]) => entry(key, schema)),
    ...nested.flatMap(([key, schema]) => [
      `## \`${key}\``,
      view(schema).description ?? '',
      ...entries(key, view(schema)),
    ]),
    '## `sweep`',
    sweepProse,
    '## What is checked',
    checks,
  ].join('\n\n')}\n`;
}

const smallest = `{
  "model": { "path": "model" },
  "data": { "train": ["train.txt"], "validation": ["validation.txt"] }
}`;

const sweepProse = [
  `${SWEEP} At most ${String(MAX_SWEEP_RUNS)} runs.`,
  [
    '```jsonc',
    '{',
    '  "model": { "path": "model" },',
    '  "data": { "train": ["train.txt"], "validation": ["validation.txt"] },',
    '  "sweep": {',
    '    "quantization.weights.bits": [2, 3, 4],',
    '    "quantization.lowRank.rank": [8, 32],',
    '  },',
    '}',
    '```',
  ].join('\n'),
  'Every key that holds a value can be swept, but for `name`; what the file says of a swept key elsewhere does not count. Keys inside of lists cannot be swept one by one, a whole list can: `"quantization.layers": [[], [{ "match": "*.down_proj", "bits": 4 }]]`.',
  'The runs come in the order of nested loops: keys as they are written, values as they are listed, the last key varies fastest. They are named by their values (`w2-rank8`, `w2-rank32`, `w3-rank8`, …), with `name` before them where the file has one. Each combination is checked like an experiment of its own; a value that stands twice in a list is an error. How the runs are queued: [queue.md](queue.md).',
].join('\n\n');

const checks = [
  '- Keys, types and ranges as above; unknown and doubled keys are errors, all problems are reported at once.',
  '- `training.microBatchSize` divides `training.batchSize`; bits and fraction bits of fixed-point storage are 8 together at most.',
  '- The model folder is complete and of a supported architecture; `data.sequenceLength` is at most its positions.',
  '- A group divides the input width of every quantized linear; a rank is at most the smaller side.',
  '- Every `match` names some linear.',
  '- Text files are there, readable and long enough for one sequence; the tokenizer has no more tokens than the model.',
  '- The run fits in memory (`memoryLimit`) and its checkpoints on the disk.',
].join('\n');

function entries(path: string, schema: SchemaView): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) =>
    child.properties
      ? [`### \`${path}.${key}\``, child.description ?? '', ...entries(`${path}.${key}`, child)]
      : [
          entry(`${path}.${key}`, child),
          ...itemEntries(`${path}.${key}`, child),
          ...formEntries(`${path}.${key}`, child),
        ],
  );
}

/** Keys of a list's objects. */
function itemEntries(path: string, schema: SchemaView): string[] {
  if (!schema.items?.properties) return [];
  return [
    `### Entries of \`${path}\``,
    'Every key but `match` may be left out; what an entry does not set stays as it is.',
    ...Object.entries(schema.items.properties).map(([key, child]) => entry(`${path}[].${key}`, child)),
  ];
}

/** Words and keys of a value that may be one of some words or an object of several keys. */
function formEntries(path: string, { anyOf = [] }: SchemaView): string[] {
  const words = anyOf.find((part) => part.enum !== undefined);
  const object = anyOf.find(({ properties }) => Object.keys(properties ?? {}).length > 1);
  if (words === undefined || object === undefined) return [];
  const lines = (words.enum ?? []).map((word, index) => `- \`"${word}"\`: ${words.enumDescriptions?.[index] ?? ''}`);
  return [
    lines.join('\n'),
    `### Object form of \`${path}\``,
    ...Object.entries(object.properties ?? {}).map(([key, child]) => entry(`${path}.${key}`, child)),
  ];
}

function entry(path: string, schema: TSchema | SchemaView): string {
  const { description, default: value, 'x-unit': unit, 'x-hint': hint, ...rest } = view(schema as TSchema);
  const facts = [
    rest.enum ? undefined : code(allowed(view(schema as TSchema))),
    value === undefined ? undefined : `default \`${JSON.stringify(value)}\``,
    unit,
  ].filter((fact) => fact !== undefined && fact !== '');
  const choices = (rest.enum ?? rest.items?.enum ?? []).map(
    (word, index) => `- \`"${word}"\`: ${(rest.enumDescriptions ?? rest.items?.enumDescriptions)?.[index] ?? ''}`,
  );
  return [
    `**\`${path}\`**${facts.length > 0 ? ` (${facts.join('; ')})` : ''}: ${description ?? ''}${hint ? ` ${hint}` : ''}`,
    ...(choices.length > 0 ? ['', ...choices] : []),
  ].join('\n');
}

/** Quoted words and objects of a phrase as code. */
function code(phrase: string): string {
  return phrase.replace(/"[^"]*"|\{[^}]*\}/g, (word) => `\`${word}\``);
}
