// Defaults of the schema for keys that are not written. (The library's own Value.Default turns a list into an object where
// an object has a default, which would hide that mistake.)
//
// A sweep asks for those of hundreds of experiments while somebody types: hence loops in place of iterators.

import { view, type SchemaView } from './allowed';
import { ExperimentSchema } from './schema';

/** `value` with every missing key that has a default; nothing else is touched or checked. */
export function withDefaults(value: unknown, schema: SchemaView = view(ExperimentSchema)): unknown {
  const { properties } = schema;
  if (properties === undefined || typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const written = value as Readonly<Record<string, unknown>>;
  const filled: [string, unknown][] = [];
  for (const [key, child] of childrenOf(schema)) {
    const content = Object.hasOwn(written, key) ? written[key] : copyOf(child.default);
    if (content !== undefined)
      filled.push([key, child.properties === undefined ? content : withDefaults(content, child)]);
  }
  for (const key of Object.keys(written)) {
    if (!Object.hasOwn(properties, key)) filled.push([key, written[key]]);
  }
  return Object.fromEntries(filled);
}

const children = new WeakMap<SchemaView, readonly (readonly [string, SchemaView])[]>();

function childrenOf(schema: SchemaView): readonly (readonly [string, SchemaView])[] {
  const known = children.get(schema);
  if (known !== undefined) return known;
  const found = Object.entries(schema.properties ?? {});
  children.set(schema, found);
  return found;
}

/** Cloning a number takes a hundred times as long as reading it. */
function copyOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? structuredClone(value) : value;
}
