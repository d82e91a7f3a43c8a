// What holds for any text: no exception, problems that lie inside it, and an experiment exactly where there is no error.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { globSync } from 'tinyglobby';

import { parseExperiment, validateAgainstWorld, type World } from '../../src/experiment';
import { applyTextEdits } from '../../src/experiment/document';
import { editDistance, nearest } from '../../src/experiment/nearest';
import { experimentWith, randomNumbers } from './make';
import { tiny } from './shapes';

const sample = readFileSync('samples/first-run/w2-rank32.lrqat.json', 'utf8');

function assertSound(text: string): void {
  const { experiment, problems } = parseExperiment(text, 'fuzz.lrqat.json');
  const lines = text.split(/\r\n|\r|\n/);
  assert.equal(
    experiment === undefined,
    problems.some(({ severity }) => severity === 'error'),
  );
  for (const { line, column, endLine, endColumn, message, fixes = [] } of problems) {
    assert.ok(line >= 1 && line <= lines.length, `line ${String(line)}: ${message}`);
    assert.ok(column >= 1 && column <= lines[line - 1]!.length + 2, `column ${String(column)}: ${message}`);
    assert.ok(endLine > line || (endLine === line && endColumn >= column), message);
    assert.ok(!message.includes('undefined') && !message.includes('[object'), message);
    for (const fix of fixes) {
      for (const edit of fix.edits) assert.ok(edit.offset >= 0 && edit.offset + edit.length <= text.length, fix.title);
      applyTextEdits(text, fix.edits);
    }
  }
}

test('the samples have no problems', () => {
  const files = globSync(['samples/**/*.lrqat.json']);
  assert.ok(files.length > 0);
  for (const file of files) assert.deepEqual(parseExperiment(readFileSync(file, 'utf8'), file).problems, [], file);
});

test('property: any damaged text gives sound problems', () => {
  const random = randomNumbers(5);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '//',
    '/*',
    '*/',
    'null',
    '-1',
    '1e999',
    '"x"',
    '\u0000',
    '\n',
    '"__proto__": 1,',
    'é😀',
  ];
  for (let round = 0; round < 3000; round++) {
    let text = sample;
    for (let change = 0; change <= below(4); change++) {
      const at = below(text.length);
      const removed = random() < 0.5 ? below(20) : 0;
      const added = random() < 0.7 ? pieces[below(pieces.length)]! : '';
      text = text.slice(0, at) + added + text.slice(at + removed);
    }
    try {
      assertSound(text);
    } catch (error) {
      throw new Error(`on\n${text}`, { cause: error });
    }
  }
});

test('property: any value in place of any value gives sound problems', () => {
  const random = randomNumbers(6);
  const values = [
    'null',
    'true',
    '-1',
    '0',
    '1.5',
    '1e308',
    '""',
    '"x"',
    '[]',
    '[null]',
    '{}',
    '{"group":null}',
    '{"a":{"b":[]}}',
  ];
  const places = [...sample.matchAll(/: ("[^"\n]*"|[-\d.e]+|true|false|\[[^\]\n]*\]|\{[^{}\n]*\})/g)];
  assert.ok(places.length > 10);
  for (let round = 0; round < 1500; round++) {
    const place = places[Math.floor(random() * places.length)]!;
    const value = values[Math.floor(random() * values.length)]!;
    assertSound(sample.slice(0, place.index + 2) + value + sample.slice(place.index + place[0].length));
  }
});

test('texts of a million brackets are refused, not overflowed', () => {
  for (const bracket of ['[', '{"a":', '{', '[{"a":[']) {
    const { problems } = parseExperiment(`\n${bracket.repeat(300_000)}`, 'deep.lrqat.json');
    assert.equal(problems.length, 1);
    assert.match(problems[0]!.message, /nested more than 64 deep/);
    assert.equal(problems[0]!.line, 2);
  }
});

test('the name is that of the file unless it is written', () => {
  const text = '{ "model": { "path": "m" }, "data": { "train": ["t"] } }';
  const name = (file: string): string | undefined => parseExperiment(text, file).experiment?.name;
  assert.equal(name('runs/w2-rank32.lrqat.json'), 'w2-rank32');
  assert.equal(name('C:\\runs\\a.b.lrqat.json'), 'a.b');
  assert.equal(name('plain.json'), 'plain');
  assert.equal(name('.lrqat.json'), 'experiment');
  assert.equal(experimentWith('name=own').name, 'own');
});

test('edit distance counts swaps once; the nearest word is near', () => {
  assert.equal(editDistance('steps', 'steps'), 0);
  assert.equal(editDistance('stpes', 'steps'), 1);
  assert.equal(editDistance('Step', 'steps'), 1);
  assert.equal(editDistance('', 'abc'), 3);
  const keys = ['steps', 'batchSize', 'microBatchSize', 'learningRate'];
  assert.equal(nearest('batchsize', keys), 'batchSize');
  assert.equal(nearest('microBatch', keys), 'microBatchSize');
  assert.equal(nearest('leraningRate', keys), 'learningRate');
  assert.equal(nearest('colour', keys), undefined);
  assert.equal(nearest('x', keys), undefined);
});

test('property: edit distance is a metric on short words, but for the swaps', () => {
  const random = randomNumbers(8);
  const word = (): string =>
    Array.from({ length: Math.floor(random() * 6) }, () => 'abc'[Math.floor(random() * 3)]).join('');
  for (let round = 0; round < 2000; round++) {
    const [a, b] = [word(), word()];
    assert.equal(editDistance(a, b), editDistance(b, a));
    assert.equal(editDistance(a, b) === 0, a === b);
    assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
    assert.ok(editDistance(a, b) >= Math.abs(a.length - b.length));
  }
});

test('a stored experiment is validated without its text', async () => {
  const world: World = {
    machine: { totalMemory: 2 ** 30, cores: 1, nativeBf16: false },
    gpuProblem: 'this machine has no NVIDIA GPU',
    openModel: (folder) => Promise.resolve({ folder, shape: tiny }),
    tokenizerVocabulary: () => Promise.resolve(512),
    expand: (pattern) => Promise.resolve([pattern]),
    similar: () => Promise.resolve(undefined),
    countTokens: (_, enough) => Promise.resolve(enough),
    freeDisk: () => Promise.resolve(null),
  };
  const problems = await validateAgainstWorld(experimentWith('data.sequenceLength=100', 'device=cuda'), world);
  assert.deepEqual(
    problems.map(({ line, column, path, fixes }) => ({ line, column, path, fixes })),
    [{ line: 1, column: 1, path: 'device', fixes: undefined }],
  );
});
