// What the editor takes from `lrqat export --json`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseExported, parseMeasured, parseOffers } from '../../src/editor/commands/export-lines';

test('the list of formats, with what is not understood left out', () => {
  const gguf = {
    format: 'gguf',
    loadedBy: 'llama.cpp',
    obstacle: null,
    exact: false,
    losses: ['scales are rounded'],
    warnings: [],
    bytes: 12,
    stored: 'Q4_0',
  };
  const offers = parseOffers({
    type: 'formats',
    formats: [gguf, null, 'gptq', { format: 'x' }, { ...gguf, format: 'gptq', obstacle: 'too odd', losses: [3, 'b'] }],
  });
  assert.deepEqual(offers, [gguf, { ...gguf, format: 'gptq', obstacle: 'too odd', losses: ['b'] }]);
  assert.equal(parseOffers({ type: 'progress', phase: 'writing', done: 1, total: 2 }), null);
  assert.equal(parseOffers({ type: 'formats', formats: 'all' }), null);
});

test('what rounding does to perplexity', () => {
  assert.deepEqual(parseMeasured({ type: 'measured', before: 2, after: 3, tokens: 4 }), [2, 3]);
  assert.equal(parseMeasured({ type: 'measured', before: null, after: 3, tokens: 4 }), null);
  assert.equal(parseMeasured({ type: 'exported', before: 2, after: 3 }), null);
});

test('the end of an export', () => {
  const line = { type: 'exported', exact: true, bytes: 5, losses: [], files: [] };
  assert.deepEqual(parseExported(line), { exact: true, bytes: 5, losses: [] });
  assert.equal(parseExported({ type: 'formats' }), null);
});
