// What differs between the experiments of several runs, key by key.

/** A value of a JSON document. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: Json;
}

export interface ConfigDifference {
  /** Keys from the root, joined by dots: `training.learningRate.lowRank`. */
  readonly key: string;
  /** By run; undefined: the run's experiment has no such key. */
  readonly values: readonly (Json | undefined)[];
}

/** Keys whose difference says nothing about the experiment itself. */
const TRIVIAL: ReadonlySet<string> = new Set(['name', '$schema']);

/** Only keys that are not the same in all documents, in the order in which they first appear. Lists are compared whole. */
export function configDifferences(documents: readonly Json[]): ConfigDifference[] {
  const flat = documents.map((document) => leaves(document));
  const keys = new Set(flat.flatMap((entries) => [...entries.keys()]));
  return [...keys]
    .filter((key) => !TRIVIAL.has(key))
    .map((key) => ({ key, values: flat.map((entries) => entries.get(key)) }))
    .filter(({ values }) => values.some((value) => canonical(value) !== canonical(values[0])));
}

/** Values by key; an object with keys is no value, so `"per-channel"` against `{ "group": 128 }` is two differences made one
 *  where the whole is short. */
function leaves(document: Json, prefix = '', into = new Map<string, Json>()): Map<string, Json> {
  if (!isObject(document) || Object.keys(document).length === 0) return into.set(prefix, document);
  for (const [key, value] of Object.entries(document)) {
    const path = prefix === '' ? key : `${prefix}.${key}`;
    if (isObject(value) && !UNIONS.has(path)) leaves(value, path, into);
    else into.set(path, value);
  }
  return into;
}

/** Keys whose value is either a word or an object: compared whole. */
const UNIONS: ReadonlySet<string> = new Set(['quantization.weights.granularity']);

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Equal texts for equal values, whatever the order of keys. */
function canonical(value: Json | undefined): string | undefined {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
