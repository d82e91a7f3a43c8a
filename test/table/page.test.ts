// The tables of docs/results.md from what was measured.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cells, experimentOf, grids, METHODS, type Subject } from './matrix';
import { tableOf, withTable, type Measured } from './page';
import { parseExperiment } from '../../src/experiment';

const subject: Subject = {
  id: 'small',
  title: 'Small',
  model: '/model',
  train: '/train.txt',
  validation: '/validation.txt',
  packing: 'join',
  group: 32,
  rank: 8,
  steps: 10,
  learningRate: { lowRank: 1e-3, scales: 1e-4, weights: 1e-4 },
};

void test('every cell is an experiment without problems, under a name of its own', () => {
  const all = cells(subject);
  const names = all.map((cell) => experimentOf(cell).name);
  assert.equal(new Set(names).size, all.length);
  for (const cell of all) {
    const text = JSON.stringify(experimentOf(cell));
    assert.deepEqual(parseExperiment(text, 'cell.lrqat.json').problems, [], text);
  }
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
