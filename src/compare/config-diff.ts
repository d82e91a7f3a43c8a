// What differs between the experiments of several runs, key by key.

/** A value of a JSON document. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: Json;
}

export interface ConfigRow {
  /** Keys from the root, joined by dots: `training.learningRate.lowRank`. */
  readonly key: string;
  /** By run; undefined: the run's experiment has no such key. */
  readonly values: readonly (Json | undefined)[];
}

type Settings = Readonly<Record<string, Json>>;

/** Keys whose difference says nothing about the experiment itself. */
const TRIVIAL: ReadonlySet<string> = new Set(['name', '$schema']);

/** Values by key, in the document's order. Lists are one value, and so is an object without keys. */
export function settingsOf(document: Json): Settings {
  return isObject(document) ? Object.fromEntries(leaves(document, '', new Map())) : {};
}

/** All keys of all runs in the order in which they first appear: those that are not the same in all, and those that are. */
export function configRows(settings: readonly Settings[]): {
  readonly different: readonly ConfigRow[];
  readonly identical: readonly ConfigRow[];
} {
  const keys = new Set(settings.flatMap((each) => Object.keys(each)));
  const rows = [...keys]
    .filter((key) => !TRIVIAL.has(key))
    .map((key) => ({ key, values: settings.map((each) => each[key]) }));
  return { different: rows.filter(differs), identical: rows.filter((row) => !differs(row)) };
}

/** Whether two values of a setting are the same, whatever the order of keys. */
export function sameValue(one: Json | undefined, other: Json | undefined): boolean {
  return canonical(one) === canonical(other);
}

function differs({ values }: ConfigRow): boolean {
  const first = canonical(values[0]);
  return values.some((value) => canonical(value) !== first);
}

/** Values by key; an object with keys is no value, so `"per-channel"` against `{ "group": 128 }` is two differences made one
 *  where the whole is short. */
function leaves(document: JsonObject, prefix: string, into: Map<string, Json>): Map<string, Json> {
  for (const [key, value] of Object.entries(document)) {
    const path = prefix === '' ? key : `${prefix}.${key}`;
    if (isObject(value) && Object.keys(value).length > 0 && !UNIONS.has(path)) leaves(value, path, into);
    else into.set(path, value);
  }
  return into;
}

/** Keys whose value is either a word or an object: compared whole. */
const UNIONS: ReadonlySet<string> = new Set(['quantization.weights.granularity', 'quantization.activations']);

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Equal texts for equal values, whatever the order of keys. */
function canonical(value: Json | undefined): string | undefined {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
