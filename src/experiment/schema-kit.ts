// Small vocabulary on top of TypeBox that the experiment's schema is written in: choices with a line for each value, and
// defaults that the type system can see, so that "as written" and "resolved" are two readings of one schema.

import type { SchemaOptions, Static, TArray, TObject, TProperties, TSchema, TUnsafe } from '@sinclair/typebox';
// The namespace, not its `Type`: that object holds every builder, and so would every bundle.
import * as Type from '@sinclair/typebox';

/** What every key says about itself; the rest travels in the JSON schema as `x-unit`, `x-hint`, `x-allowed`. */
export interface Prose {
  readonly description: string;
  /** Unit of the number, e.g. `tokens`. */
  readonly unit?: string;
  /** One sentence of advice, shown under errors and in the form. */
  readonly hint?: string;
  /** What is allowed, in words, where the schema alone would read badly. */
  readonly allowed?: string;
}

/** A schema whose key may be left out of the file. */
export type Defaulted<S extends TSchema> = S & { readonly default: unknown };

/** Options of a TypeBox schema that carry the prose. */
export function prose({ description, unit, hint, allowed }: Prose): SchemaOptions {
  return {
    description,
    ...(unit ? { 'x-unit': unit } : {}),
    ...(hint ? { 'x-hint': hint } : {}),
    ...(allowed ? { 'x-allowed': allowed } : {}),
  };
}

/** The same schema with the value that stands for a missing key. */
export function withDefault<S extends TSchema>(schema: S, value: Static<S>): Defaulted<S> {
  return { ...schema, default: value };
}

/** An object that may be left out whole; its own defaults fill it. */
export function section<P extends TProperties>(properties: P, text: Prose): Defaulted<TObject<P>> {
  return { ...Type.Object(properties, { ...prose(text), additionalProperties: false }), default: {} };
}

/** An object that must be written because at least one of its keys has no default. */
export function requiredSection<P extends TProperties>(properties: P, text: Prose): TObject<P> {
  return Type.Object(properties, { ...prose(text), additionalProperties: false });
}

const CHOICE = 'LrqatChoice';
Type.TypeRegistry.Set<{ enum: readonly string[] }>(
  CHOICE,
  (schema, value) => typeof value === 'string' && schema.enum.includes(value),
);

/** One of some words; `choices` gives each its line of explanation (completions, hovers, reference page). */
export function choice<C extends Readonly<Record<string, string>>>(
  choices: C,
  text: Prose,
): TUnsafe<Extract<keyof C, string>> {
  return Type.Unsafe<Extract<keyof C, string>>({
    [Type.Kind]: CHOICE,
    type: 'string',
    enum: Object.keys(choices),
    enumDescriptions: Object.values(choices),
    ...prose(text),
  });
}

type WrittenKeys<P extends TProperties> = { [K in keyof P]: P[K] extends { default: unknown } ? never : K }[keyof P];

/** The value of a schema as a user may write it: keys with a default are optional at every depth. */
export type InputOf<S> =
  S extends TObject<infer P>
    ? { [K in WrittenKeys<P>]: InputOf<P[K]> } & { [K in Exclude<keyof P, WrittenKeys<P>>]?: InputOf<P[K]> }
    : S extends TArray<infer Item>
      ? InputOf<Item>[]
      : S extends TSchema
        ? Static<S>
        : never;
