// What a schema allows, in words: for error messages and the reference page.

import type { TSchema } from '@sinclair/typebox';

/** The fields of a JSON schema that our schemas use, readable without knowing their TypeBox kind. */
export interface SchemaView {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly enumDescriptions?: readonly string[];
  readonly anyOf?: readonly SchemaView[];
  readonly properties?: Readonly<Record<string, SchemaView>>;
  readonly required?: readonly string[];
  readonly items?: SchemaView;
  readonly minItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly description?: string;
  readonly default?: unknown;
  readonly 'x-unit'?: string;
  readonly 'x-hint'?: string;
  readonly 'x-allowed'?: string;
}

export function view(schema: TSchema): SchemaView {
  return schema;
}

/** Everything the schema takes, e.g. `an integer from 2 to 8`, `"join" or "documents"`. */
export function allowed(schema: SchemaView): string {
  const stated = schema['x-allowed'];
  if (stated) return stated;
  if (schema.enum) return listed(schema.enum.map((word) => JSON.stringify(word)));
  if (schema.anyOf) return listed(schema.anyOf.map(allowed));
  switch (schema.type) {
    case 'integer':
    case 'number':
      return numberRange(schema);
    case 'boolean':
      return 'true or false';
    case 'null':
      return 'null';
    case 'string':
      return schema.minLength ? 'text that is not empty' : 'text';
    case 'array':
      return `a list of ${schema.items ? plural(schema.items) : 'values'}${schema.minItems ? ' that is not empty' : ''}`;
    case 'object':
      return requiredKeys(schema).length > 0
        ? `an object with ${listed(requiredKeys(schema), 'and')}`
        : `an object with any of ${Object.keys(schema.properties ?? {}).join(', ')}`;
    default:
      return 'another value';
  }
}

/** Keys of an object that must be written. */
export function requiredKeys(schema: SchemaView): string[] {
  return (schema.required ?? []).filter((key) => !('default' in (schema.properties?.[key] ?? {})));
}

function plural(schema: SchemaView): string {
  if (schema.enum) return allowed(schema);
  return schema.type === 'string' ? 'texts' : schema.type === 'object' ? 'objects' : 'values';
}

function numberRange(schema: SchemaView): string {
  const noun = schema.type === 'integer' ? 'an integer' : 'a number';
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (minimum !== undefined && maximum !== undefined) return `${noun} from ${plain(minimum)} to ${plain(maximum)}`;
  const low =
    minimum !== undefined
      ? `of at least ${plain(minimum)}`
      : exclusiveMinimum !== undefined
        ? `above ${plain(exclusiveMinimum)}`
        : undefined;
  const high =
    maximum !== undefined
      ? `at most ${plain(maximum)}`
      : exclusiveMaximum !== undefined
        ? `below ${plain(exclusiveMaximum)}`
        : undefined;
  if (low && high) return `${noun} ${low} and ${high}`;
  return [noun, low ?? high].filter((part) => part !== undefined).join(' ');
}

function plain(value: number): string {
  return String(value);
}

/** `a`, `a or b`, `a, b or c`. */
export function listed(items: readonly string[], word: 'or' | 'and' = 'or'): string {
  const last = items.at(-1);
  if (last === undefined) return 'nothing';
  return items.length === 1 ? last : `${items.slice(0, -1).join(', ')} ${word} ${last}`;
}

/** A value as it may stand in a one-line message. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (typeof value === 'object' && value !== null && (text?.length ?? 0) > 40) {
    return Array.isArray(value) ? 'this list' : 'this object';
  }
  if (text === undefined) return 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
