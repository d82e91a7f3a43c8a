import assert from 'node:assert/strict';
import test from 'node:test';

import { parse } from 'jsonc-parser';

import { applyOverrides, parseExperiment } from '../../src/experiment';
import { allKeyPaths } from '../../src/experiment/overrides';
import { randomNumbers } from './make';

const text = `// A run.
{
  "model": { "path": "model" }, // the small one
  "data": { "train": ["a.txt"], /* more later */ "validation": ["v.txt"] },
  "quantization": {
    "layers": [
      { "match": "*.down_proj", "bits": 4 }, // wide inputs
    ],
  },
}
`;

/** Value at a dotted path with indices. */
function at(value: unknown, path: string): unknown {
  return path
    .split(/[.[\]]+/)
    .filter((piece) => piece !== '')
    .reduce<unknown>((here, piece) => (here as Record<string, unknown> | undefined)?.[piece], value);
}

function read(source: string): unknown {
  const errors: never[] = [];
  const value: unknown = parse(source, errors, { allowTrailingComma: true });
  assert.deepEqual(errors, []);
  return value;
}

test('values are JSON, else text', () => {
  const result = read(
    applyOverrides(text, [
      'training.steps=100',
      'training.gradientClip=null',
      'quantization.learnScales=false',
      'name=my run',
      'data.train=["b.txt","c.txt"]',
      'quantization.weights.granularity={"group":128}',
      'memoryLimit="6 GiB"',
    ]),
  );
  assert.equal(at(result, 'training.steps'), 100);
  assert.equal(at(result, 'training.gradientClip'), null);
  assert.equal(at(result, 'quantization.learnScales'), false);
  assert.equal(at(result, 'name'), 'my run');
  assert.deepEqual(at(result, 'data.train'), ['b.txt', 'c.txt']);
  assert.deepEqual(at(result, 'quantization.weights.granularity'), { group: 128 });
  assert.equal(at(result, 'memoryLimit'), '6 GiB');
});

test('comments stay', () => {
  const result = applyOverrides(text, ['training.steps=3', 'model.path=other', 'quantization.layers[0].bits=3']);
  for (const comment of ['// A run.', '// the small one', '/* more later */', '// wide inputs']) {
    assert.ok(result.includes(comment), `${comment} is gone from\n${result}`);
  }
});

test('list entries are set by index, with brackets or dots, and appended', () => {
  const result = read(
    applyOverrides(text, [
      'quantization.layers[0].bits=3',
      'quantization.layers.0.rank=8',
      'quantization.layers[]={"match":"*.q_proj","skip":true}',
      'quantization.layers[1].skip=false',
      'data.train[]=z.txt',
      'data.train[0]=y.txt',
    ]),
  );
  assert.deepEqual(at(result, 'quantization.layers'), [
    { match: '*.down_proj', bits: 3, rank: 8 },
    { match: '*.q_proj', skip: false },
  ]);
  assert.deepEqual(at(result, 'data.train'), ['y.txt', 'z.txt']);
});

test('a group is reached inside its choice', () => {
  assert.deepEqual(at(read(applyOverrides('{}', ['quantization.weights.granularity.group=64'])), 'quantization'), {
    weights: { granularity: { group: 64 } },
  });
});

test('nothing after the equals sign takes the key out', () => {
  const result = read(applyOverrides(text, ['quantization.layers=', 'data.validation=']));
  assert.equal(at(result, 'quantization.layers'), undefined);
  assert.deepEqual(at(result, 'data'), { train: ['a.txt'] });
});

test('taking a key out keeps the rest valid and comments in place', () => {
  const sources = [
    '{ "name": "x" }',
    '{ "name": "x", }',
    '{ "name": "x" /* a */ , /* b */ "threads": 2 }',
    '{ "threads": 2 /* a */ , /* b */ "name": "x" /* c */ }',
    '{ "threads": 2, "name": "x" /* c */, }',
    '{\n  "threads": 2, // a\n  "name": "x", // b\n}',
    '{\r\n  "name": "x",\r\n  "threads": 2\r\n}',
    '{ "threads": 2 }',
  ];
  for (const source of sources) {
    const result = applyOverrides(source, ['name=']);
    assert.deepEqual(read(result), source.includes('threads') ? { threads: 2 } : {}, source);
    for (const [comment] of source.matchAll(/\/\*.*?\*\/|\/\/ ./g)) assert.ok(result.includes(comment), result);
  }
});

test('values may contain equals signs', () => {
  assert.equal(at(read(applyOverrides(text, ['name=a=b'])), 'name'), 'a=b');
});

const refusals: readonly [set: string, message: RegExp, hint: RegExp][] = [
  ['training.step=1', /training\.step is not a key/, /did you mean training\.steps\?/],
  ['steps=1', /steps is not a key/, /did you mean training\.steps\?/],
  ['everySteps=1', /everySteps is not a key/, /evaluation\.everySteps or checkpoint\.everySteps/],
  ['traning.steps=1', /traning is not a key/, /did you mean training\?/],
  ['training.steps', /no "="/, /training\.steps=100/],
  ['=3', /no "="/, /key\.path=value/],
  ['training.steps.more=1', /training\.steps has no keys/, /^$/],
  ['training[0]=1', /training is not a list/, /^$/],
  ['quantization.layers[7].bits=2', /has 1 entries, there is no \[7\]/, /quantization\.layers\[\]/],
  ['quantization.layers[0].bit=2', /bit is not a key/, /bits\?/],
  ['training..steps=1', /is no key path/, /dots/],
  ['training.[0]=1', /is no key path/, /dots/],
  ['quantization.layers[0]=', /cannot be taken out/, /whole list/],
  ['__proto__.x=1', /__proto__ is not a key/, /./],
  ['training.steps=1e400', /number is too large/, /e\+308/],
  ['data.train=[-1e999]', /number is too large/, /e\+308/],
  ['constructor=1', /constructor is not a key/, /./],
];

for (const [set, message, hint] of refusals) {
  test(`--set ${set} is refused`, () => {
    assert.throws(
      () => applyOverrides(text, [set]),
      (error: Error & { code?: string; hint?: string }) => {
        assert.equal(error.code, 'InvalidOverride');
        assert.match(error.message, message);
        assert.ok(error.message.includes(set), 'the message names the assignment');
        assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  });
}

test('property: what is set is what is read, and nothing else changes', () => {
  const random = randomNumbers(2);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const values = [0, -1, 2.5, 1e-7, true, false, null, 'text', 'with "quotes" and \\', 'ü=ö', [], [1, 'a'], { a: 1 }];
  const leaves = allKeyPaths().filter((path) => !allKeyPaths().some((other) => other.startsWith(`${path}.`)));
  for (let round = 0; round < 300; round++) {
    const path = pick(leaves);
    const value = pick(values);
    const before = read(text);
    const changed = applyOverrides(text, [`${path}=${JSON.stringify(value)}`]);
    const after = read(changed);
    assert.deepEqual(at(after, path), value, path);
    for (const other of leaves) {
      if (other !== path) assert.deepEqual(at(after, other), at(before, other), `${other} after setting ${path}`);
    }
    assert.equal(
      applyOverrides(changed, [`${path}=${JSON.stringify(value)}`]),
      changed,
      'setting twice is setting once',
    );
  }
});

test('property: the order of assignments to different keys does not matter', () => {
  const random = randomNumbers(3);
  const sets = ['training.steps=7', 'training.seed=1', 'name=n', 'data.field=body', 'checkpoint.keep=2', 'threads=3'];
  const expected = read(applyOverrides(text, sets));
  for (let round = 0; round < 50; round++) {
    const shuffled = [...sets].sort(() => random() - 0.5);
    assert.deepEqual(read(applyOverrides(text, shuffled)), expected);
  }
});

test('an overridden experiment parses', () => {
  const { experiment } = parseExperiment(
    applyOverrides(text, ['training.microBatchSize=8', 'quantization.weights.bits=3']),
    'x.lrqat.json',
  );
  assert.equal(experiment?.training.microBatchSize, 8);
  assert.equal(experiment.quantization.weights.bits, 3);
});
