// Edits of an experiment's text that add or take out one thing and leave everything else as it stands: comments stay on the line
// they were written on, one-line objects stay on one line, the file's own indentation goes on. (jsonc-parser's own `modify` puts
// a new key before the comment of the line above, breaks one-line objects up, and drops comments beside what it removes.)

import { createScanner, modify, type Node } from 'jsonc-parser';

import type { KeyPath, TextEdit } from './problem';
import { spaced } from './spaced';

/** Edits that insert `key: value` as the last property of an object. */
export function insertProperty(text: string, parent: Node, key: string, value: unknown): TextEdit[] {
  return insertLast(text, parent, `${JSON.stringify(key)}: ${spaced(value)}`);
}

/** Edits that insert `value` as the last element of a list. */
export function insertElement(text: string, parent: Node, value: unknown): TextEdit[] {
  return insertLast(text, parent, spaced(value));
}

/** Edits that take one child (a property or an element) out of its parent, with one comma; comments stay. */
export function removeChild(text: string, child: Node): TextEdit[] {
  const siblings = child.parent?.children ?? [];
  const previous = siblings[siblings.indexOf(child) - 1];
  const end = child.offset + child.length;
  const after = commaAfter(text, end);
  const before = after === undefined && previous ? commaAfter(text, previous.offset + previous.length) : undefined;
  if (after !== undefined && text.slice(end, after).trim() === '') {
    const blank = /^[ \t]*(?:\r?\n[ \t]*)?/.exec(text.slice(after + 1))?.[0].length ?? 0;
    return [{ offset: child.offset, length: after + 1 + blank - child.offset, text: '' }];
  }
  if (before !== undefined && text.slice(before + 1, child.offset).trim() === '') {
    return [{ offset: before, length: end - before, text: '' }];
  }
  const comma = after ?? before;
  return [
    { offset: child.offset, length: child.length, text: '' },
    ...(comma === undefined ? [] : [{ offset: comma, length: 1, text: '' }]),
  ];
}

/** Edits that jsonc-parser makes, for what is no simple insertion (a value in the place of an object, say). */
export function modified(text: string, path: KeyPath, value: unknown): TextEdit[] {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const formattingOptions = { insertSpaces: !/^\t/m.test(text), tabSize: 2, eol };
  return modify(text, [...path], value, { formattingOptions }).map(({ offset, length, content }) => ({
    offset,
    length,
    text: content,
  }));
}

function insertLast(text: string, parent: Node, content: string): TextEdit[] {
  const open = parent.offset + 1;
  const close = parent.offset + parent.length - 1;
  const last = parent.children?.at(-1);
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const isOneLine = !text.slice(open, close).includes('\n');
  const space = parent.type === 'object' ? ' ' : '';
  if (last === undefined) {
    if (isOneLine && text.slice(open, close).trim() === '')
      return [{ offset: open, length: close - open, text: `${space}${content}${space}` }];
    // Only comments inside: after them, on a line of its own.
    const inner = `${indentOf(text, parent.offset)}${indentUnit(text)}`;
    const end = text.slice(0, close).trimEnd().length;
    return [
      { offset: end, length: close - end, text: `${eol}${inner}${content}${eol}${indentOf(text, parent.offset)}` },
    ];
  }
  const end = last.offset + last.length;
  const comma = commaAfter(text, end);
  if (isOneLine) {
    return comma === undefined
      ? [{ offset: end, length: 0, text: `, ${content}` }]
      : [{ offset: comma + 1, length: 0, text: ` ${content},` }];
  }
  const behind = endOfLineComments(text, (comma ?? end - 1) + 1);
  const line = `${eol}${indentOf(text, last.offset)}${content}`;
  // The file's habit of trailing commas goes on.
  if (comma !== undefined) return [{ offset: behind, length: 0, text: `${line},` }];
  if (behind === end) return [{ offset: end, length: 0, text: `,${line}` }];
  return [
    { offset: end, length: 0, text: ',' },
    { offset: behind, length: 0, text: line },
  ];
}

/** Place of a comma that follows `offset` with only blanks and comments between. */
function commaAfter(text: string, offset: number): number | undefined {
  const scanner = createScanner(text, true);
  scanner.setPosition(offset);
  scanner.scan();
  const found = scanner.getTokenOffset();
  return text[found] === ',' ? found : undefined;
}

/** End of the comments that follow `offset` on its line; `offset` itself where there are none. */
function endOfLineComments(text: string, offset: number): number {
  const comments = /^(?:[ \t]*(?:\/\/[^\r\n]*|\/\*(?:(?!\*\/)[^\r\n])*\*\/))+/.exec(text.slice(offset));
  return offset + (comments?.[0].length ?? 0);
}

/** White space before the first character of the line of `offset`. */
function indentOf(text: string, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  return /^[ \t]*/.exec(text.slice(start, offset))?.[0] ?? '';
}

/** What the file indents with. */
function indentUnit(text: string): string {
  return /\n(\t| {1,8})(?=\S)/.exec(text)?.[1] ?? '  ';
}
