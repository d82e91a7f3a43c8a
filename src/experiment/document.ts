// A JSON-with-comments text with its tree: values, places of keys and values, and edits that keep comments.

import { createScanner, parseTree, type Node, type ParseError } from 'jsonc-parser';

import { insertElement, insertProperty, modified, removeChild } from './document-edits';
import type { KeyPath, SourceRange, TextEdit } from './problem';
import { spaced } from './spaced';

/** Values of one key path that stand elsewhere in the file: a swept key's in the list of the sweep. */
export interface Redirect {
  readonly from: KeyPath;
  readonly to: KeyPath;
}

export class ExperimentDocument {
  readonly root: Node | undefined;
  readonly syntaxErrors: readonly ParseError[];
  private readonly lineStarts: readonly number[];

  constructor(
    readonly text: string,
    readonly file: string,
    private readonly redirects: readonly Redirect[] = [],
    parsed?: ExperimentDocument,
  ) {
    if (parsed) {
      ({ root: this.root, syntaxErrors: this.syntaxErrors, lineStarts: this.lineStarts } = parsed);
      return;
    }
    const errors: ParseError[] = [];
    // A byte order mark is no JSON; a blank in its place keeps all offsets.
    const source = text.startsWith('\uFEFF') ? ` ${text.slice(1)}` : text;
    this.root = parseTree(source, errors, { allowTrailingComma: true });
    this.syntaxErrors = errors;
    this.lineStarts = lineStartsOf(text);
  }

  /** The same text, in which the values of some key paths are looked for elsewhere. */
  redirected(redirects: readonly Redirect[]): ExperimentDocument {
    return new ExperimentDocument(this.text, this.file, redirects, this);
  }

  /** Range of `length` characters at `offset`. */
  range(offset: number, length: number): SourceRange {
    const [line, column] = this.position(offset);
    const [endLine, endColumn] = this.position(offset + length);
    return { line, column, endLine, endColumn };
  }

  /** Line and column, both from 1. */
  position(offset: number): [line: number, column: number] {
    let low = 0;
    let high = this.lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return [low + 1, offset - (this.lineStarts[low] ?? 0) + 1];
  }

  /** The value's node; of a duplicate key the last, as JSON readers do. */
  node(path: KeyPath): Node | undefined {
    let node = this.root;
    for (const segment of this.place(path)) {
      if (!node) return undefined;
      node = typeof segment === 'number' ? node.children?.[segment] : propertyOf(node, segment)?.children?.[1];
    }
    return node;
  }

  /** The `"key": value` node of a path that ends in a key. */
  property(written: KeyPath): Node | undefined {
    const path = this.place(written);
    const key = path.at(-1);
    const parent = this.node(path.slice(0, -1));
    return typeof key === 'string' && parent ? propertyOf(parent, key) : undefined;
  }

  private place(path: KeyPath): KeyPath {
    const redirect = this.redirects.find(({ from }) => from.every((segment, index) => segment === path[index]));
    return redirect === undefined ? path : [...redirect.to, ...path.slice(redirect.from.length)];
  }

  /** Where to point for a path: its value, or the key of the nearest section that is in the file. */
  anchor(path: KeyPath): SourceRange {
    const own = this.node(path);
    if (own && (path.length > 0 || own.type !== 'object')) return this.range(own.offset, shown(own));
    for (let depth = path.length - 1; depth > 0; depth--) {
      const ancestor = path.slice(0, depth);
      const key = this.property(ancestor)?.children?.[0] ?? this.node(ancestor);
      if (key) return this.range(key.offset, shown(key));
    }
    return this.root ? this.range(this.root.offset, 1) : this.range(0, 0);
  }

  /** Edits that set the value at a path, inserting the key where it is not in the file. */
  setValue(path: KeyPath, value: unknown): TextEdit[] {
    const node = this.node(path);
    if (node) return [{ offset: node.offset, length: node.length, text: spaced(value) }];
    // The nearest section that is there takes the missing ones with the value.
    for (let depth = path.length - 1; depth >= 0; depth--) {
      const parent = this.node(path.slice(0, depth));
      const key = path[depth];
      if (!parent) continue;
      if (parent.type !== 'object' || typeof key !== 'string') break;
      const whole = path.slice(depth + 1).reduceRight<unknown>((inner, segment) => ({ [segment]: inner }), value);
      return insertProperty(this.text, parent, key, whole);
    }
    return modified(this.text, path, value);
  }

  /** Edits that append to a list, made where it is not in the file. */
  appendTo(path: KeyPath, value: unknown): TextEdit[] {
    const list = this.node(path);
    return list?.type === 'array' ? insertElement(this.text, list, value) : this.setValue(path, [value]);
  }

  /** Edits that take a key and its value, or an element of a list, out, with one comma; comments stay. */
  remove(path: KeyPath): TextEdit[] {
    const child = typeof path.at(-1) === 'number' ? this.node(path) : this.property(path);
    return child ? removeChild(this.text, child) : [];
  }
}

/** Applies edits that do not overlap. */
export function applyTextEdits(text: string, edits: readonly TextEdit[]): string {
  return [...edits]
    .sort((a, b) => b.offset - a.offset)
    .reduce(
      (result, { offset, length, text: added }) => result.slice(0, offset) + added + result.slice(offset + length),
      text,
    );
}

/** The parser calls itself for every level; far fewer than it can bear are far more than an experiment has. */
export const MAX_DEPTH = 64;

/** Line (from 1) on which the nesting passes MAX_DEPTH. */
export function nestedTooDeep(text: string): number | undefined {
  const scanner = createScanner(text, true);
  let depth = 0;
  for (;;) {
    scanner.scan();
    const length = scanner.getTokenLength();
    // Only at the end of the text a token is empty.
    if (length === 0) return undefined;
    const character = length === 1 ? text[scanner.getTokenOffset()] : undefined;
    if (character === '{' || character === '[') depth++;
    if (character === '}' || character === ']') depth--;
    if (depth > MAX_DEPTH) return scanner.getTokenStartLine() + 1;
  }
}

/** First line of an object or array only: a caret under fifty lines says nothing. */
function shown(node: Node): number {
  return node.type === 'object' || node.type === 'array' ? 1 : node.length;
}

function propertyOf(node: Node, key: string): Node | undefined {
  if (node.type !== 'object') return undefined;
  let byKey = properties.get(node);
  if (byKey === undefined) {
    byKey = new Map();
    for (const property of node.children ?? []) byKey.set(property.children?.[0]?.value, property);
    properties.set(node, byKey);
  }
  return byKey.get(key);
}

/** Of objects that were asked before, by key, the last of each: an object with thousands of mistakes is asked for each of them. */
const properties = new WeakMap<Node, Map<unknown, Node>>();

/** The value of a tree; own properties only, so that a key `__proto__` is a key like any other. */
export function valueOf(node: Node | undefined): unknown {
  if (!node) return undefined;
  switch (node.type) {
    case 'array':
      return (node.children ?? []).map(valueOf);
    case 'object': {
      const value: Record<string, unknown> = {};
      for (const property of node.children ?? []) {
        const [key, content] = property.children ?? [];
        if (!key || !content) continue;
        Object.defineProperty(value, String(key.value), {
          value: valueOf(content),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
      return value;
    }
    default:
      return node.value as unknown;
  }
}

function lineStartsOf(text: string): number[] {
  const starts = [0];
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === '\n' || (character === '\r' && text[index + 1] !== '\n')) starts.push(index + 1);
  }
  return starts;
}
