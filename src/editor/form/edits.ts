// What the form asks for, as edits of the text. Pure.
import { UserError } from '../../errors';
import type { KeyPath, TextEdit } from '../../experiment';
import { view, type SchemaView } from '../../experiment/allowed';
import { applyTextEdits, ExperimentDocument } from '../../experiment/document';
import { ExperimentSchema } from '../../experiment/schema';

export type Change =
  | { readonly kind: 'set'; readonly path: KeyPath; readonly value: unknown }
  | { readonly kind: 'append'; readonly path: KeyPath; readonly value: unknown }
  | { readonly kind: 'remove'; readonly path: KeyPath };

/** Edits that do not overlap; none where the text says it already.
 *  @throws UserError FormPath for a path that no experiment has, FormBroken when the text cannot be edited by keys */
export function editsFor(text: string, change: Change): TextEdit[] {
  const { path } = change;
  if (!isPathOf(view(ExperimentSchema), path)) {
    throw new UserError('FormPath', `${JSON.stringify(path)} is no key of an experiment`);
  }
  const document = new ExperimentDocument(text, '');
  if (document.syntaxErrors.length > 0 || document.root?.type !== 'object') {
    throw new UserError('FormBroken', 'the text cannot be read, so nothing of it can be changed by key');
  }
  switch (change.kind) {
    case 'set': {
      const node = document.node(path);
      const last = path.at(-1);
      if (typeof last === 'number' && !node) {
        throw new UserError('FormPath', `${JSON.stringify(path)} is not in the list any more`);
      }
      const isSame = node !== undefined && isScalar(change.value) && node.value === change.value;
      return isSame ? [] : document.setValue(path, change.value);
    }
    case 'append':
      return document.appendTo(path, change.value);
    case 'remove':
      return document.remove(path);
  }
}

/** Several changes as edits that can be made at once: each reads the text that those before it leave, and two that come at one place
 *  (keys that a section lacks) could not stand beside each other.
 *  @throws UserError as {@link editsFor} */
export function editsForAll(text: string, changes: readonly Change[]): TextEdit[] {
  const [only, ...more] = changes;
  if (only === undefined) return [];
  if (more.length === 0) return editsFor(text, only);
  const after = changes.reduce((before, change) => applyTextEdits(before, editsFor(before, change)), text);
  return after === text ? [] : [differenceOf(text, after)];
}

/** The one edit between two texts: what is the same before and behind it stays. */
function differenceOf(before: string, after: string): TextEdit {
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start++;
  let end = 0;
  while (end < most - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  return { offset: start, length: before.length - start - end, text: after.slice(start, after.length - end) };
}

function isScalar(value: unknown): boolean {
  return typeof value !== 'object' || value === null;
}

/** Whether the schema has such a place; positions of lists included. */
export function isPathOf(schema: SchemaView, path: KeyPath): boolean {
  const [segment, ...rest] = path;
  if (segment === undefined) return true;
  const options = [schema, ...(schema.anyOf ?? [])];
  return options.some(({ properties, items }) => {
    if (typeof segment === 'number') return items !== undefined && isPathOf(items, rest);
    const child = properties !== undefined && Object.hasOwn(properties, segment) ? properties[segment] : undefined;
    return child !== undefined && isPathOf(child, rest);
  });
}
