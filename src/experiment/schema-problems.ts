// The schema library's findings, told by someone who knows the file: what is wrong, what is allowed, what was probably meant.

import type { TSchema } from '@sinclair/typebox';
import { Errors, ValueErrorType, type ValueError } from '@sinclair/typebox/errors';

import { shorten } from '../formats/show-value';
import { allowed, quoted, requiredKeys, view, type SchemaView } from './allowed';
import type { ExperimentDocument } from './document';
import { nearest } from './nearest';
import { pathText, type Fix, type KeyPath, type PathSegment, type Problem } from './problem';
import { ExperimentSchema } from './schema';

/** A key that does not belong into its section, or whose value is wrong. */
export interface WrongKey {
  readonly path: KeyPath;
  /** The key that was meant, where it is only misspelt. */
  readonly meant?: KeyPath;
}

export interface SchemaFindings {
  readonly problems: readonly Problem[];
  readonly wrong: readonly WrongKey[];
  /** Every key path that is not as the schema says, also those not worth a message of their own. */
  readonly broken: readonly string[];
}

/** All places where `value` (defaults filled in) is not what the schema says. */
export function schemaProblems(document: ExperimentDocument, value: unknown): SchemaFindings {
  const problems = new Map<string, Problem>();
  const misspelt = new Set<string>();
  const missing: Problem[] = [];
  const wrong: WrongKey[] = [];
  for (const error of errorsOf(ExperimentSchema, value)) {
    const path = pathOf(error.path, value);
    const text = pathText(path);
    if (error.type === ValueErrorType.ObjectAdditionalProperties) {
      const { problem, nearest: meant } = unknownKey(document, path, error.schema);
      problems.set(text, problem);
      wrong.push(meant === undefined ? { path } : { path, meant });
      if (meant !== undefined) misspelt.add(pathText(meant));
    } else if (error.type === ValueErrorType.ObjectRequiredProperty) {
      missing.push(missingKey(document, path, error.schema));
    } else if (!problems.has(text) && document.node(path)) {
      problems.set(text, wrongValue(document, path, error));
      wrong.push({ path });
    }
  }
  const absent = missing.filter(({ path }) => !misspelt.has(path) && !coveredBy(path, problems));
  return {
    problems: [...problems.values(), ...uniqueByPath(absent)],
    wrong,
    broken: [...problems.keys(), ...missing.map(({ path }) => path), ...misspelt],
  };
}

/** Where a value may be an object beside other things and is one, what is wrong with the object says more than that it is none
 *  of those. (Objects of one key have corrections of their own.) */
function* errorsOf(schema: TSchema, value: unknown, prefix = ''): Generator<ValueError> {
  for (const error of Errors(schema, value)) {
    const objects = (error.schema['anyOf'] as TSchema[] | undefined)?.filter((option) => manyKeys(view(option)));
    const [object, ...others] = objects ?? [];
    const isObject = typeof error.value === 'object' && error.value !== null && !Array.isArray(error.value);
    if (error.type === ValueErrorType.Union && isObject && object !== undefined && others.length === 0) {
      yield* errorsOf(object, error.value, prefix + error.path);
    } else {
      yield { ...error, path: prefix + error.path };
    }
  }
}

function manyKeys({ properties }: SchemaView): boolean {
  return Object.keys(properties ?? {}).length > 1;
}

/** A key inside a section that is itself of the wrong kind is not missing. */
function coveredBy(path: string, problems: ReadonlyMap<string, Problem>): boolean {
  return [...problems.keys()].some((known) => path.startsWith(`${known}.`));
}

function uniqueByPath(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [problem.path, problem])).values()];
}

/** TypeBox speaks JSON pointers; numbers that index arrays become numbers again. */
export function pathOf(pointer: string, value: unknown): PathSegment[] {
  const path: PathSegment[] = [];
  let here: unknown = value;
  for (const raw of pointer.split('/').slice(1)) {
    const segment = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    path.push(Array.isArray(here) ? Number(segment) : segment);
    here = typeof here === 'object' && here !== null ? (here as Record<string, unknown>)[segment] : undefined;
  }
  return path;
}

function unknownKey(
  document: ExperimentDocument,
  path: KeyPath,
  schema: TSchema,
): { problem: Problem; nearest: KeyPath | undefined } {
  const key = String(path.at(-1));
  const parent = path.slice(0, -1);
  // "sweep" is a key of the file, not of the experiments that it stands for.
  const known = [...Object.keys(view(schema).properties ?? {}), ...(parent.length === 0 ? ['sweep'] : [])];
  const node = document.property(path);
  const name = node?.children?.[0];
  const where = pathText(parent) || 'the experiment';
  const meant = nearest(
    key,
    known.filter((other) => !document.property([...parent, other])),
  );
  const elsewhere = meant === undefined ? homeOf(key) : undefined;
  const advice =
    meant !== undefined
      ? `did you mean ${JSON.stringify(meant)}?`
      : elsewhere !== undefined
        ? `${JSON.stringify(key)} belongs to ${elsewhere}`
        : `${where} has ${known.join(', ')}`;
  const fixes: Fix[] = [];
  if (meant !== undefined && name) {
    fixes.push({
      title: `Change to "${meant}"`,
      edits: [{ offset: name.offset, length: name.length, text: JSON.stringify(meant) }],
    });
  }
  if (node) fixes.push({ title: `Remove "${key}"`, edits: document.remove(path) });
  return {
    nearest: meant === undefined ? undefined : [...parent, meant],
    problem: {
      file: document.file,
      path: pathText(path),
      ...(name ? document.range(name.offset, name.length) : document.anchor(parent)),
      severity: 'error',
      message: `${key === '' ? 'a key without a name' : shorten(pathText(path))} is not a key of ${where}; ${advice}`,
      value: key,
      fixes,
    },
  };
}

/** The only section that has a key of this name. */
function homeOf(key: string): string | undefined {
  const homes = sectionsWith(view(ExperimentSchema), key, []);
  return homes.length === 1 ? homes[0] : undefined;
}

function sectionsWith(schema: SchemaView, key: string, path: readonly string[]): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => [
    ...(name === key ? [path.length === 0 ? 'the top level' : path.join('.')] : []),
    ...sectionsWith(child, key, [...path, name]),
  ]);
}

function missingKey(document: ExperimentDocument, path: KeyPath, schema: TSchema): Problem {
  return {
    file: document.file,
    path: pathText(path),
    ...document.anchor(path),
    severity: 'error',
    message: `${pathText(path)} is missing; it must be ${allowed(view(schema))}`,
    ...hintOf(view(schema).description),
  };
}

function wrongValue(document: ExperimentDocument, path: KeyPath, error: ValueError): Problem {
  const schema = view(error.schema);
  const value = error.value;
  const replacement = correction(schema, value);
  const fixes: Fix[] = [];
  if (replacement !== undefined) {
    fixes.push({ title: `Change to ${JSON.stringify(replacement)}`, edits: document.setValue(path, replacement) });
  }
  const meant = typeof replacement === 'string' || typeof replacement === 'object' ? replacement : undefined;
  const advice = meant
    ? `; did you mean ${JSON.stringify(meant)}?`
    : selfExplaining.has(error.type)
      ? ''
      : `; use ${allowed(schema)}`;
  const full = meant
    ? `use ${allowed(schema)}`
    : (schema['x-hint'] ?? (advice === '' ? schema.description : undefined));
  return {
    file: document.file,
    path: pathText(path),
    ...document.anchor(path),
    severity: 'error',
    message: `${pathText(path)}: ${complaint(schema, value, error)}${advice}`,
    value,
    ...hintOf(full),
    ...(fixes.length > 0 ? { fixes } : {}),
  };
}

/** Errors whose complaint already says what would be right. */
const selfExplaining: ReadonlySet<ValueErrorType> = new Set([
  ValueErrorType.StringMinLength,
  ValueErrorType.StringMaxLength,
  ValueErrorType.ArrayMinItems,
  ValueErrorType.ArrayUniqueItems,
]);

function hintOf(hint: string | undefined): { hint?: string } {
  return hint ? { hint } : {};
}

function complaint(schema: SchemaView, value: unknown, error: ValueError): string {
  // 1e400 is read as an infinite number, which JSON would show as null.
  if (value === Infinity || value === -Infinity) return `the number is too ${value > 0 ? 'large' : 'small'}`;
  const shown = quoted(value);
  switch (error.type) {
    case ValueErrorType.IntegerMinimum:
    case ValueErrorType.NumberMinimum:
    case ValueErrorType.IntegerExclusiveMinimum:
    case ValueErrorType.NumberExclusiveMinimum:
      return `${shown} is too small`;
    case ValueErrorType.IntegerMaximum:
    case ValueErrorType.NumberMaximum:
    case ValueErrorType.IntegerExclusiveMaximum:
    case ValueErrorType.NumberExclusiveMaximum:
      return `${shown} is too large`;
    case ValueErrorType.StringMinLength:
      return 'the text is empty';
    case ValueErrorType.StringMaxLength:
      return `the text has more characters than the ${String(schema.maxLength)} allowed`;
    case ValueErrorType.ArrayMinItems:
      return 'the list is empty; name at least one';
    case ValueErrorType.ArrayUniqueItems:
      return 'the list names something twice; name each once';
    default:
  }
  if (schema.type === 'integer' && typeof value === 'number') return `${shown} is not a whole number`;
  if (typeof value === 'number' && schema.anyOf?.some(({ type }) => type === 'integer' || type === 'number')) {
    return Number.isInteger(value) ? `${shown} is out of range` : `${shown} is not a whole number`;
  }
  if (schema.type === undefined || schema.enum || schema.pattern) return `${shown} is not known`;
  return `${shown} is ${kindOf(value)}`;
}

function kindOf(value: unknown): string {
  if (typeof value === 'string') return 'text';
  if (typeof value === 'number') return 'a number';
  if (typeof value === 'boolean') return 'true or false';
  return value === null ? 'nothing' : 'not allowed here';
}

/** What the value was probably meant to be, when that is clear. */
function correction(schema: SchemaView, value: unknown): unknown {
  const options = schema.anyOf ?? [schema];
  if (typeof value === 'string') {
    for (const option of options) {
      if (option.type === 'boolean' && /^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
      if (option.type === 'null' && value === 'null') return null;
      if ((option.type === 'integer' || option.type === 'number') && value.trim() !== '') {
        const number = Number(value);
        if (Number.isFinite(number) && inside(option, number)) return number;
      }
    }
    if (value !== '' && schema.items?.type === 'string' && !schema.items.enum) return [value];
    const [required, ...others] = requiredKeys(schema);
    if (
      value !== '' &&
      required !== undefined &&
      others.length === 0 &&
      schema.properties?.[required]?.type === 'string'
    ) {
      return { [required]: value };
    }
    const words = options.flatMap((option) => option.enum ?? []);
    return nearest(value, words);
  }
  for (const option of options) {
    const [key, ...others] = Object.keys(option.properties ?? {});
    if (key === undefined || others.length > 0) continue;
    // { "group": 128 } written as 128, or with the key misspelt.
    const content = typeof value === 'number' ? value : onlyValue(value);
    const inner = option.properties?.[key];
    if (inner && typeof content === 'number' && inside(inner, content)) return { [key]: content };
  }
  return undefined;
}

function onlyValue(value: unknown): unknown {
  const contents = typeof value === 'object' && value !== null ? Object.values(value as Record<string, unknown>) : [];
  return contents.length === 1 ? contents[0] : undefined;
}

function inside(schema: SchemaView, value: number): boolean {
  if (schema.type === 'integer' && !Number.isInteger(value)) return false;
  return (
    value >= (schema.minimum ?? -Infinity) &&
    value <= (schema.maximum ?? Infinity) &&
    value > (schema.exclusiveMinimum ?? -Infinity) &&
    value < (schema.exclusiveMaximum ?? Infinity)
  );
}
