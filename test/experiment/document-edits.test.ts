// Edits of one thing: everything else stays as it was written.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyTextEdits, ExperimentDocument } from '../../src/experiment/document';
import type { KeyPath } from '../../src/experiment';

const set = (text: string, path: KeyPath, value: unknown): string =>
  applyTextEdits(text, new ExperimentDocument(text, '').setValue(path, value));
const append = (text: string, path: KeyPath, value: unknown): string =>
  applyTextEdits(text, new ExperimentDocument(text, '').appendTo(path, value));
const remove = (text: string, path: KeyPath): string =>
  applyTextEdits(text, new ExperimentDocument(text, '').remove(path));

const TEXT = `// top
{
  "a": { "x": 1 }, // after a
  /* before b */ "b": 2 // after b
}
`;

test('a value is replaced in its place', () => {
  assert.equal(set(TEXT, ['a', 'x'], 5), TEXT.replace('"x": 1', '"x": 5'));
  assert.equal(set(TEXT, ['b'], { group: 128 }), TEXT.replace('"b": 2', '"b": { "group": 128 }'));
});

test('a new key comes after the comment of the last line', () => {
  assert.equal(
    set(TEXT, ['c'], 3),
    `// top
{
  "a": { "x": 1 }, // after a
  /* before b */ "b": 2, // after b
  "c": 3
}
`,
  );
});

test('missing sections are made with the key, on one line', () => {
  assert.equal(
    set(TEXT, ['q', 'r', 's'], 0.1),
    TEXT.replace('"b": 2 // after b', '"b": 2, // after b\n  "q": { "r": { "s": 0.1 } }'),
  );
});

test('a one-line object stays one line', () => {
  assert.equal(set(TEXT, ['a', 'y'], true), TEXT.replace('{ "x": 1 }', '{ "x": 1, "y": true }'));
  assert.equal(set('{ "a": {} }', ['a', 'y'], 'z'), '{ "a": { "y": "z" } }');
  assert.equal(set('{ "a": { "x": 1, } }', ['a', 'y'], 2), '{ "a": { "x": 1, "y": 2, } }');
});

test('trailing commas, tabs and CRLF are the file’s habits', () => {
  assert.equal(set('{\n\t"a": 1, // one\n}\n', ['b'], 2), '{\n\t"a": 1, // one\n\t"b": 2,\n}\n');
  assert.equal(set('{\r\n  "a": 1\r\n}\r\n', ['b'], 2), '{\r\n  "a": 1,\r\n  "b": 2\r\n}\r\n');
});

test('an object with nothing but a comment keeps it', () => {
  assert.equal(
    set('{\n  "a": {\n    // nothing yet\n  }\n}', ['a', 'x'], 1),
    '{\n  "a": {\n    // nothing yet\n    "x": 1\n  }\n}',
  );
});

const LIST = `{
  "train": [
    "a.txt", // the first
    "b.txt" // the second
  ]
}
`;

test('an element is appended after the comment of the last, and a missing list is made', () => {
  assert.equal(
    append(LIST, ['train'], 'c.txt'),
    LIST.replace('"b.txt" // the second', '"b.txt", // the second\n    "c.txt"'),
  );
  assert.equal(append('{ "train": ["a.txt"] }', ['train'], 'b.txt'), '{ "train": ["a.txt", "b.txt"] }');
  assert.equal(append('{ "train": [] }', ['train'], 'b.txt'), '{ "train": ["b.txt"] }');
  assert.equal(append('{ "x": 1 }', ['train'], 'b.txt'), '{ "x": 1, "train": ["b.txt"] }');
});

test('what is taken out leaves the comments of others, and JSON', () => {
  for (const path of [
    ['train', 0],
    ['train', 1],
  ] as const) {
    const text = remove(LIST, path);
    assert.deepEqual(new ExperimentDocument(text, '').syntaxErrors, []);
    assert.ok(text.includes('// the first') && text.includes('// the second'), text);
  }
  assert.equal(remove(TEXT, ['a']), TEXT.replace('"a": { "x": 1 }, ', ''));
  assert.equal(remove('{ "a": 1, "b": 2 }', ['b']), '{ "a": 1 }');
  assert.equal(remove(TEXT, ['nothing']), TEXT);
});
