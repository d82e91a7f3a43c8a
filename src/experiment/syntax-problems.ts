// What is not even JSON with comments, and keys written twice.

import { printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';

import type { ExperimentDocument } from './document';
import { pathText, type KeyPath, type PathSegment, type Problem } from './problem';

const explanations: Readonly<Record<string, string>> = {
  InvalidSymbol: 'this is no JSON value; texts need double quotes',
  InvalidNumberFormat: 'this is no number as JSON writes it',
  PropertyNameExpected: 'a key in double quotes should stand here',
  ValueExpected: 'a value is missing here',
  ColonExpected: 'a colon is missing between key and value',
  CommaExpected: 'a comma is missing before this',
  CloseBraceExpected: 'a closing } is missing',
  CloseBracketExpected: 'a closing ] is missing',
  EndOfFileExpected: 'something follows after the end of the experiment',
  InvalidCommentToken: 'comments start with // or stand between /* and */',
  UnexpectedEndOfComment: 'this comment is not closed by */',
  UnexpectedEndOfString: 'this text is not closed by a double quote',
  UnexpectedEndOfNumber: 'this number is not complete',
  InvalidUnicode: '\\u must be followed by four hexadecimal digits',
  InvalidEscapeCharacter: 'unknown escape; write \\\\ for a backslash',
  InvalidCharacter: 'a control character stands here; write it as \\n, \\t or \\u00XX',
};

/** Every syntax error; of several in one line the first, as the others mostly follow from it. */
export function syntaxProblems(document: ExperimentDocument): Problem[] {
  const lines = new Set<number>();
  const problems: Problem[] = [];
  for (const error of document.syntaxErrors) {
    const [line] = document.position(error.offset);
    if (lines.has(line)) continue;
    lines.add(line);
    problems.push(syntaxProblem(document, error));
  }
  return problems;
}

function syntaxProblem(document: ExperimentDocument, error: ParseError): Problem {
  const { text } = document;
  const kind = printParseErrorCode(error.error);
  const found = text.slice(error.offset, error.offset + Math.min(error.length, 40));
  const lineEnd = found.search(/[\r\n]/);
  const shown = lineEnd >= 0 ? found.slice(0, lineEnd) : found;
  const explanation = explanations[kind] ?? 'this is not JSON';
  const missingComma = kind === 'CommaExpected';
  const end = missingComma ? endOfPrevious(text, error.offset) : error.offset;
  return {
    file: document.file,
    path: '',
    ...document.range(end, missingComma ? 0 : Math.max(shown.length, 0)),
    severity: 'error',
    message: missingComma
      ? 'a comma is missing after this value'
      : shown.trim() === ''
        ? explanation
        : `${explanation} (found ${JSON.stringify(shown)})`,
    ...(missingComma ? { fixes: [{ title: 'Insert a comma', edits: [{ offset: end, length: 0, text: ',' }] }] } : {}),
  };
}

/** End of the last thing that is neither blank nor comment before `offset`. */
function endOfPrevious(text: string, offset: number): number {
  let end = 0;
  const tokens = /\/\/[^\r\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\r\n]|\\.)*"|[^\s"/]+|\//g;
  for (const token of text.slice(0, offset).matchAll(tokens)) {
    if (!/^\/[/*]/.test(token[0])) end = token.index + token[0].length;
  }
  return end;
}

/** Keys that stand twice in one object, at any depth. */
export function duplicateKeys(document: ExperimentDocument): Problem[] {
  return document.root ? collect(document, document.root, []) : [];
}

function collect(document: ExperimentDocument, node: Node, path: KeyPath): Problem[] {
  const problems: Problem[] = [];
  const first = new Map<PathSegment, Node>();
  for (const [index, child] of (node.children ?? []).entries()) {
    if (node.type === 'array') {
      problems.push(...collect(document, child, [...path, index]));
      continue;
    }
    const [key, value] = child.children ?? [];
    if (!key) continue;
    const name = String(key.value);
    const here = [...path, name];
    const earlier = first.get(name);
    if (earlier) {
      const [line] = document.position(earlier.offset);
      problems.push({
        file: document.file,
        path: pathText(here),
        ...document.range(key.offset, key.length),
        severity: 'error',
        message: `${pathText(here)} is set twice; the first is on line ${String(line)}: keep one`,
        value: name,
      });
    } else {
      first.set(name, key);
    }
    if (value) problems.push(...collect(document, value, here));
  }
  return problems;
}
