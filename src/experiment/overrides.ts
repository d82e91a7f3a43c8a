// `--set a.b=v`: changes to the text of an experiment before it is parsed, so that problems still point into a text and
// comments stay.

import { applyEdits, modify, parse, type JSONPath } from 'jsonc-parser';

import { UserError } from '../errors';
import { view, type SchemaView } from './allowed';
import { applyTextEdits, ExperimentDocument } from './document';
import { nearest } from './nearest';
import { ExperimentSchema } from './schema';

/**
 * The text with every `key.path=value` set, in order. A value is read as JSON, else taken as text: `training.steps=100`,
 * `name=test`, `data.train=["a.txt"]`, `quantization.layers[0].bits=4`. `quantization.layers[]=…` appends; `key=` with
 * nothing after it removes the key, so that its default applies.
 * @throws UserError InvalidOverride for a malformed assignment or an unknown key.
 */
export function applyOverrides(text: string, sets: readonly string[]): string {
  let result = text.trim() === '' ? '{}' : text;
  for (const set of sets) {
    const equals = set.indexOf('=');
    if (equals <= 0) {
      throw new UserError('InvalidOverride', `--set ${set}: no "=" after the key`, {
        hint: 'write --set key.path=value, for example --set training.steps=100',
      });
    }
    const path = overridePath(set.slice(0, equals).trim(), set, result);
    const written = set.slice(equals + 1).trim();
    if (written === '') {
      if (typeof path.at(-1) === 'number') {
        throw new UserError('InvalidOverride', `--set ${set}: an entry of a list cannot be taken out`, {
          hint: 'set the whole list, for example --set data.validation=["a.txt"]',
        });
      }
      const document = new ExperimentDocument(result, '');
      result = applyTextEdits(result, document.remove(path));
      continue;
    }
    const value = valueFromText(written, set);
    const append = path.at(-1) === -1;
    const edits = modify(result, path, value, {
      isArrayInsertion: append,
      formattingOptions: { insertSpaces: true, tabSize: 2, eol: result.includes('\r\n') ? '\r\n' : '\n' },
    });
    result = applyEdits(result, edits);
  }
  return result;
}

function valueFromText(text: string, set: string): unknown {
  const infinite: unknown[] = [];
  let value: unknown;
  try {
    value = JSON.parse(text, (_, part: unknown) => {
      if (typeof part === 'number' && !Number.isFinite(part)) infinite.push(part);
      return part;
    });
  } catch {
    return text;
  }
  if (infinite.length === 0) return value;
  throw new UserError('InvalidOverride', `--set ${set}: the number is too large`, {
    hint: `numbers reach from -${String(Number.MAX_VALUE)} to ${String(Number.MAX_VALUE)}`,
  });
}

/** Checks every key against the schema on the way down; `[]` at the end becomes −1, which `modify` takes as "append". */
function overridePath(written: string, set: string, text: string): JSONPath {
  const segments = [...written.matchAll(/\[(\d*)\]|([^.[\]]+)/g)];
  if (segments.map(([piece]) => piece).join('') !== written.replaceAll('.', '') || /\.\.|^\.|\.$|\.\[/.test(written)) {
    throw new UserError('InvalidOverride', `--set ${set}: ${JSON.stringify(written)} is no key path`, {
      hint: 'keys are separated by dots, list entries are counted from 0: quantization.layers[0].bits',
    });
  }
  const path: (string | number)[] = [];
  let schemas: SchemaView[] = [view(ExperimentSchema)];
  // A sweep is set or taken out as a whole: its keys have dots in them.
  if (written === 'sweep') return ['sweep'];
  for (const [piece, index, key] of segments) {
    if (key === undefined) {
      const items = schemas.flatMap((schema) => (schema.items ? [schema.items] : []));
      if (items.length === 0) throw notAList(set, path);
      const last = piece === '[]';
      const position = last ? -1 : Number(index);
      if (!last) checkIndex(set, text, path, position);
      path.push(position);
      schemas = items;
      continue;
    }
    // `layers.0.bits` is understood like `layers[0].bits`.
    const items = schemas.flatMap((schema) => (schema.items ? [schema.items] : []));
    if (/^\d+$/.test(key) && items.length > 0) {
      checkIndex(set, text, path, Number(key));
      path.push(Number(key));
      schemas = items;
      continue;
    }
    const options = schemas.flatMap((schema) => [schema, ...(schema.anyOf ?? [])]);
    const children = options.flatMap((option) => {
      const child = option.properties && Object.hasOwn(option.properties, key) ? option.properties[key] : undefined;
      return child ? [child] : [];
    });
    if (children.length === 0) throw unknownKey(set, path, key, options);
    path.push(key);
    schemas = children;
  }
  return path;
}

function checkIndex(set: string, text: string, path: readonly (string | number)[], index: number): void {
  let here: unknown = parse(text, [], { allowTrailingComma: true });
  for (const segment of path) {
    here = typeof here === 'object' && here !== null ? (here as Record<string | number, unknown>)[segment] : undefined;
  }
  const length = Array.isArray(here) ? here.length : 0;
  if (index < length) return;
  const name = path.join('.');
  throw new UserError(
    'InvalidOverride',
    `--set ${set}: ${name} has ${String(length)} entries, there is no [${String(index)}]`,
    {
      hint: `append with --set ${name}[]=…`,
    },
  );
}

function notAList(set: string, path: readonly (string | number)[]): UserError {
  return new UserError('InvalidOverride', `--set ${set}: ${path.join('.') || 'the experiment'} is not a list`);
}

function unknownKey(
  set: string,
  path: readonly (string | number)[],
  key: string,
  options: readonly SchemaView[],
): UserError {
  const known = options.flatMap((option) => Object.keys(option.properties ?? {}));
  const where = path.join('.') || 'the experiment';
  if (known.length === 0) {
    return new UserError('InvalidOverride', `--set ${set}: ${where} has no keys, it is a value itself`);
  }
  const prefix = path.length > 0 ? `${path.join('.')}.` : '';
  const meant = nearest(key, known);
  const elsewhere = meant === undefined ? allKeyPaths().filter((other) => other.split('.').at(-1) === key) : [];
  const hint =
    meant !== undefined
      ? `did you mean ${prefix}${meant}?`
      : elsewhere.length > 0
        ? `did you mean ${elsewhere.join(' or ')}?`
        : `${where} has ${known.join(', ')}`;
  return new UserError('InvalidOverride', `--set ${set}: ${prefix}${key} is not a key of an experiment`, { hint });
}

/** Every key path of an experiment outside lists. */
export function allKeyPaths(schema: SchemaView = view(ExperimentSchema), prefix = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) => [
    `${prefix}${key}`,
    ...allKeyPaths(child, `${prefix}${key}.`),
  ]);
}
