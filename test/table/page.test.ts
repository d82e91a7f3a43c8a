// The tables of docs/results.md from what was measured.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cells,
  experimentOf,
  grids,
  METHODS,
  questionName,
  questionOf,
  questions,
  trialOf,
  type Subject,
} from './matrix';
import { ratesTable, tableOf, withTable, type Measured } from './page';
import { parseExperiment } from '../../src/experiment';

const subject: Subject = {
  id: 'small',
  title: 'Small',
  model: '../inputs/model',
  train: '../inputs/train.txt',
  validation: '../inputs/validation.txt',
  search: { train: '../inputs/fitted.txt', heldOut: '../inputs/held-out.txt' },
  packing: 'join',
  group: 32,
  rank: 8,
  steps: 10,
};

void test('every cell and every trial is an experiment without problems, under a name of its own', () => {
  const ofCells = cells(subject).map((cell) => experimentOf(cell, { scales: 1e-3 }));
  const trials = questions(subject).map((question) => trialOf(question, question.search.start));
  const all = [...ofCells, ...trials];
  assert.equal(new Set(all.map(({ name }) => name)).size, all.length);
  for (const experiment of all) {
    const text = JSON.stringify(experiment);
    assert.deepEqual(parseExperiment(text, 'cell.lrqat.json').problems, [], text);
  }
});

void test('nothing in an experiment depends on where the repository lies, and the search never sees the validation text', () => {
  for (const question of questions(subject)) {
    const { model, data } = trialOf(question, question.search.start);
    const paths = [model.path, ...data.train, ...(data.validation ?? [])];
    assert.deepEqual(paths, ['../inputs/model', '../inputs/fitted.txt', '../inputs/held-out.txt']);
  }
});

void test('cells take the rates of the search for their bits, LR-QAT from GPTQ those of LR-QAT', () => {
  const source = (method: string, grid: string) => {
    const cell = cells(subject).find((each) => each.method.id === method && each.grid.id === grid)!;
    const question = questionOf(cell);
    return question === null ? null : questionName(question);
  };
  assert.equal(source('rtn', 'w4'), null);
  assert.equal(source('gptq', 'w4'), null);
  assert.equal(source('peqa', 'w3g32'), 'peqa-w3');
  assert.equal(source('lr-qat', 'w4a8kv4'), 'lr-qat-w4');
  assert.equal(source('lr-qat-gptq', 'w2g32'), 'lr-qat-w2');
});

void test('the rates that were found, a dash where the search has not ended', () => {
  const question = questions(subject).find((each) => each.method.id === 'lr-qat' && each.grid.id === 'w3')!;
  const lines = ratesTable(subject, [{ question, rates: { lowRank: 8e-3, scales: 5e-4 } }]).split('\n');
  assert.equal(lines[0], '| learning rates | W4 pc | W3 pc | W2 asym. pc |');
  assert.ok(lines.includes('| LR-QAT | – | A and B 8e-3, scales 5e-4 | – |'), lines.join('\n'));
});

void test('means and spreads of seeds, the best in bold, dashes for what is missing', () => {
  const grid = grids(subject)[0]!;
  const run = (id: string, seed: number, perplexity: number): Measured => {
    const method = METHODS.find((each) => each.id === id)!;
    return { cell: { subject, method, grid, seed }, perplexity, float: 9.5, bitsPerWeight: 4.125 };
  };
  const lines = tableOf(subject, [run('rtn', 1, 12.5), run('lr-qat', 1, 10.25), run('lr-qat', 2, 10.75)]).split('\n');
  const cell = (title: string) =>
    lines
      .find((line) => line.startsWith(`| ${title} |`))
      ?.split('|')[2]
      ?.trim();
  assert.equal(cell('method'), 'W4 pc');
  assert.equal(cell('bits a weight, with scales'), '4.13');
  assert.equal(cell('float'), '9.500');
  assert.equal(cell('round to nearest'), '12.50');
  assert.equal(cell('PEQA (scales only)'), '–');
  assert.equal(cell('LR-QAT'), '**10.50 ± 0.25**');
});

void test('only what is between the marks is replaced', () => {
  const page = 'Before\n<!-- table: small -->\nold\n<!-- end of table: small -->\nAfter\n';
  assert.equal(
    withTable(page, subject, 'new'),
    'Before\n<!-- table: small -->\n\nnew\n\n<!-- end of table: small -->\nAfter\n',
  );
  assert.throws(() => withTable('no marks', subject, 'new'), /lacks the lines '<!-- table: small -->'/);
});
