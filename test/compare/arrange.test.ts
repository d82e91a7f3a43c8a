import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrange, type RunFacts, type Sort } from '../../src/compare';
import { result, run } from './runs';

const settings = (bits: number, rank: number) => ({ quantization: { weights: { bits }, lowRank: { rank } } });
const runs = [
  run('a-w2', settings(2, 8), { result: result(15), notes: { tags: ['paper'] } }),
  run('b-w3', settings(3, 32), { result: result(12) }),
  run('c-w4', settings(4, 32), { state: 'failed' }),
  run('d-w2', settings(2, 128), { result: result(13.5), notes: { name: 'Best so far' } }),
];

const names = (filter: string, sort: Sort | null = null, pinned: readonly string[] = []): string =>
  arrange(runs, { filter, sort, isPinned: (each: RunFacts) => pinned.includes(each.name) })
    .map(({ name }) => name[0])
    .join('');

test('words are looked for in names, tags and states; all of them must be there', () => {
  assert.equal(names(''), 'abcd');
  assert.equal(names('W2'), 'ad');
  assert.equal(names('best'), 'd');
  assert.equal(names('#paper'), 'a');
  assert.equal(names('w2 #paper'), 'a');
  assert.equal(names('failed'), 'c');
  assert.equal(names('nothing'), '');
});

test('conditions on settings and metrics, by the end of their keys', () => {
  assert.equal(names('bits=2'), 'ad');
  assert.equal(names('weights.bits!=2'), 'bc');
  assert.equal(names('rank>=32'), 'bcd');
  assert.equal(names('rank>32'), 'd');
  assert.equal(names('perplexity<14'), 'bd');
  assert.equal(names('ppl<=12'), 'b');
  assert.equal(names('state!=failed bits>2'), 'b');
  assert.equal(names('bits=two'), '');
  assert.equal(names('its=2'), '', 'the end of a key is a whole part of it');
});

test('sorted up and down by numbers, unknown ones last; pinned runs come first whatever the filter', () => {
  assert.equal(names('', { key: 'quantization.lowRank.rank', descending: false }), 'abcd');
  assert.equal(names('', { key: 'quantization.lowRank.rank', descending: true }), 'dbca');
  assert.equal(names('', { key: 'perplexity.trained', descending: false }), 'bdac');
  assert.equal(names('', { key: 'perplexity.trained', descending: true }), 'adbc');
  assert.equal(names('', { key: 'name', descending: false }), 'abdc', 'Best so far stands before c-w4');
  assert.equal(names('bits=2', { key: 'perplexity.trained', descending: false }, ['a-w2', 'c-w4']), 'acd');
});
