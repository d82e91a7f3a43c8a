// Defaults of the schema for keys that are not written. (The library's own Value.Default turns a list into an object where
// an object has a default, which would hide that mistake.)

import { view, type SchemaView } from './allowed';
import { ExperimentSchema } from './schema';

/** `value` with every missing key that has a default; nothing else is touched or checked. */
export function withDefaults(value: unknown, schema: SchemaView = view(ExperimentSchema)): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !schema.properties) return value;
  const written = new Map(Object.entries(value));
  const filled = Object.entries(schema.properties).flatMap(([key, child]): [string, unknown][] => {
    const present = written.has(key);
    const content: unknown = present ? written.get(key) : structuredClone(child.default);
    written.delete(key);
    return content === undefined ? [] : [[key, withDefaults(content, child)]];
  });
  return Object.fromEntries([...filled, ...written]);
}
