// "sweep": expansion, names, and problems at their places in the file.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyOverrides, MAX_SWEEP_RUNS, parseExperiment, type Problem } from '../../src/experiment';
import { applyTextEdits } from '../../src/experiment/document';
import { completionSchema, jsonSchema } from '../../src/experiment/reference';
import { combinations } from '../../src/experiment/sweep';
import { sweepable } from '../../src/experiment/sweep-keys';

function fileWith(sweep: unknown, more: Readonly<Record<string, unknown>> = {}): string {
  const base = { model: { path: 'model' }, data: { train: ['t.txt'], validation: ['v.txt'] } };
  return JSON.stringify({ ...base, ...more, sweep }, null, 2);
}

function parse(sweep: unknown, more: Readonly<Record<string, unknown>> = {}) {
  return parseExperiment(fileWith(sweep, more), 'base.lrqat.json');
}

function only(problems: readonly Problem[]): Problem {
  assert.equal(problems.length, 1, JSON.stringify(problems, null, 2));
  return problems[0]!;
}

/** The text that a problem points at. */
function pointedAt(text: string, { line, column, endLine, endColumn }: Problem): string {
  const lines = text.split('\n');
  assert.equal(line, endLine);
  return lines[line - 1]!.slice(column - 1, endColumn - 1);
}

void test('a sweep is all combinations, the last key fastest, named by their values', () => {
  const { sweep, experiment, problems } = parse({
    'quantization.weights.bits': [2, 3, 4],
    'quantization.lowRank.rank': [8, 32],
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(
    sweep?.map((run) => run.experiment.name),
    ['w2-rank8', 'w2-rank32', 'w3-rank8', 'w3-rank32', 'w4-rank8', 'w4-rank32'],
  );
  assert.deepEqual(
    sweep.map((run) => [run.experiment.quantization.weights.bits, run.experiment.quantization.lowRank.rank]),
    [
      [2, 8],
      [2, 32],
      [3, 8],
      [3, 32],
      [4, 8],
      [4, 32],
    ],
  );
  assert.deepEqual(sweep[3]?.values, { 'quantization.weights.bits': 3, 'quantization.lowRank.rank': 32 });
  assert.deepEqual(experiment, sweep[0]?.experiment, 'what knows nothing of sweeps sees the first run');
  assert.ok(!('sweep' in sweep[0]!.experiment));
  assert.equal(sweep[0]!.experiment.quantization.weights.range, 'lp-4', 'defaults stay');
});

void test('names: of the file first where it writes one, short words for values, never one twice', () => {
  const names = (sweep: unknown, more = {}): string[] =>
    parse(sweep, more).sweep?.map((run) => run.experiment.name) ?? [];
  assert.deepEqual(names({ 'quantization.weights.bits': [2, 3] }, { name: 'tiny' }), ['tiny-w2', 'tiny-w3']);
  assert.deepEqual(
    names({
      'quantization.weights.granularity': ['per-channel', { group: 64 }],
      'training.learningRate.lowRank': [1e-3, 4e-4],
    }),
    ['per-channel-lr0.001', 'per-channel-lr0.0004', 'g64-lr0.001', 'g64-lr0.0004'],
  );
  assert.deepEqual(names({ 'training.schedule': ['linear', 'cosine'], 'quantization.learnScales': [true, false] }), [
    'schedule-linear-learnScales-on',
    'schedule-linear-learnScales-off',
    'schedule-cosine-learnScales-on',
    'schedule-cosine-learnScales-off',
  ]);
  assert.deepEqual(names({ 'model.path': ['a/small', 'b/small'] }), ['small', 'small-2']);
  assert.deepEqual(names({ 'quantization.layers': [[], [{ match: '*', bits: 3 }]] }), ['layers1', 'layers2']);
  const long = parse({ 'quantization.weights.bits': [2] }, { name: 'n'.repeat(200) });
  assert.equal(long.experiment?.name.length, 200);
  assert.ok(long.experiment.name.endsWith('-w2'));
});

void test('what is swept need not stand in the file, nor be right there for the base', () => {
  const text = JSON.stringify({
    model: { path: 'model' },
    data: { validation: ['v.txt'] },
    sweep: { 'data.train': [['a.txt'], ['b.txt']] },
  });
  const { sweep, problems } = parseExperiment(text, 'x.lrqat.json');
  assert.deepEqual(problems, []);
  assert.deepEqual(
    sweep?.map(({ experiment }) => experiment.data.train),
    [['a.txt'], ['b.txt']],
  );
});

void test('an unknown key names the nearest one, with a fix', () => {
  for (const [written, meant] of [
    ['quantization.weigths.bits', 'quantization.weights.bits'],
    ['lowRank.rank', 'quantization.lowRank.rank'],
    ['microBatchSize', 'training.microBatchSize'],
    ['training.learningRate.lowrank', 'training.learningRate.lowRank'],
  ] as const) {
    const text = fileWith({ [written]: [2, 3] });
    const problem = only(parseExperiment(text, 'x.lrqat.json').problems);
    assert.match(problem.message, new RegExp(`"${written}" cannot be swept; did you mean "${meant}"\\?`));
    assert.equal(pointedAt(text, problem), JSON.stringify(written));
    const [fix] = problem.fixes ?? [];
    assert.ok(fix);
    assert.deepEqual(Object.keys((JSON.parse(applyTextEdits(text, fix.edits)) as { sweep: object }).sweep), [meant]);
  }
  assert.match(
    only(parse({ sequenceLength: [2] }).problems).message,
    /did you mean "data.sequenceLength" or "evaluation.wikitext.sequenceLength"\?/,
  );
  assert.match(only(parse({ 'quantization.weights': [2] }).problems).message, /it is a section; sweep .*weights\.bits/);
  assert.match(only(parse({ name: ['a', 'b'] }).problems).message, /named by their values/);
  assert.match(only(parse({ zzz: [1] }).problems).message, /write the whole path of a key/);
});

void test('each value is checked like its key, at its place in the list', () => {
  const text = fileWith({ 'quantization.weights.bits': [2, 9, 3], 'quantization.weights.range': ['lp-4', 'lp3'] });
  const { problems, experiment } = parseExperiment(text, 'x.lrqat.json');
  assert.equal(experiment, undefined);
  assert.equal(problems.length, 2);
  assert.match(problems[0]!.message, /quantization\.weights\.bits: 9 is too large; use an integer from 2 to 8/);
  assert.equal(pointedAt(text, problems[0]!), '9');
  assert.match(problems[1]!.message, /did you mean "lp-3"\?/);
  assert.equal(pointedAt(text, problems[1]!), '"lp3"');
  const fixed = applyTextEdits(text, problems[1]!.fixes![0]!.edits);
  assert.match(fixed, /"lp-4",\s+"lp-3"/);
});

void test('rules between keys are checked for each combination and name those that break them', () => {
  const text = fileWith({ 'training.batchSize': [8, 6], 'training.microBatchSize': [2, 4] });
  const problem = only(parseExperiment(text, 'x.lrqat.json').problems);
  assert.match(problem.message, /microBatchSize: 4 does not divide batchSize 6; .* \(in batch6-micro4\)$/);
  assert.equal(pointedAt(text, problem), '4');
  const every = fileWith({ 'training.microBatchSize': [4, 8] }, { training: { batchSize: 6 } });
  const messages = parseExperiment(every, 'x.lrqat.json').problems.map(({ message }) => message);
  assert.equal(messages.length, 2);
  assert.match(messages[0]!, /4 does not divide .*\(in micro4\)/);
});

void test('a combination listed twice, no list, an empty list and too many runs are refused', () => {
  const twice = fileWith({ 'quantization.weights.granularity': [{ group: 64 }, 'per-channel', { group: 64 }] });
  const problem = only(parseExperiment(twice, 'x.lrqat.json').problems);
  assert.match(problem.message, /\{"group":64\} is listed twice/);
  const fixed = JSON.parse(applyTextEdits(twice, problem.fixes![0]!.edits)) as { sweep: Record<string, unknown> };
  assert.deepEqual(fixed.sweep, { 'quantization.weights.granularity': [{ group: 64 }, 'per-channel'] });
  assert.match(only(parse({ 'training.seed': 7 }).problems).message, /7 is no list of values/);
  assert.match(only(parse({ 'training.seed': [] }).problems).message, /the list is empty/);
  assert.match(only(parse([2, 3]).problems).message, /no object of key paths/);
  const none = parse({});
  assert.equal(only(none.problems).severity, 'warning');
  assert.ok(none.experiment && none.sweep === undefined);
  const many = {
    'training.seed': Array.from({ length: 20 }, (_, i) => i),
    'training.steps': Array.from({ length: 20 }, (_, i) => i + 1),
  };
  assert.match(
    only(parse(many).problems).message,
    new RegExp(`20 × 20 = 400 runs, and ${String(MAX_SWEEP_RUNS)} are allowed`),
  );
  assert.match(
    parseExperiment(
      '{ "model": {"path": "m"}, "data": {"train": ["t"]}, "sweep": { "training.seed": [1], "training.seed": [2] } }',
      'x',
    )
      .problems.map(({ message }) => message)
      .join('\n'),
    /set twice/,
  );
});

void test('a misspelt "sweep" is told, and --set takes a sweep in and out', () => {
  const { sweep, ...rest } = JSON.parse(fileWith({ 'training.seed': [1, 2] })) as Record<string, unknown>;
  const text = JSON.stringify({ ...rest, sweeps: sweep });
  assert.match(only(parseExperiment(text, 'x').problems).message, /did you mean "sweep"\?/);
  assert.equal(
    parseExperiment(applyOverrides(fileWith({ 'training.seed': [1, 2] }), ['sweep=']), 'x').sweep,
    undefined,
  );
  const added = applyOverrides(JSON.stringify(rest), ['sweep={"training.seed":[1,2,3]}']);
  assert.equal(parseExperiment(added, 'x').sweep?.length, 3);
});

void test('the schemas for editors know every key that can be swept, with its values', () => {
  const schema = jsonSchema() as { properties: { sweep: { properties: Record<string, { items: object }> } } };
  const lists = schema.properties.sweep.properties;
  assert.deepEqual(Object.keys(lists).sort(), [...sweepable.keys()].sort());
  assert.ok('quantization.weights.bits' in lists && !('name' in lists) && !('quantization.weights' in lists));
  assert.deepEqual((lists['quantization.weights.bits'].items as { maximum: number }).maximum, 8);
  assert.match(JSON.stringify(completionSchema()), /Values of quantization\.lowRank\.rank to run/);
});

void test('no axis is one combination, and many are as many as their product', () => {
  assert.equal(combinations([]).length, 1);
  const axis = (key: string, count: number) => ({
    key,
    path: [key],
    values: Array.from({ length: count }, (_, i) => i),
  });
  const all = combinations([axis('a', 3), axis('b', 4), axis('c', 5)]);
  assert.equal(all.length, 60);
  assert.equal(new Set(all.map(({ name }) => name)).size, 60);
});
