// Experiments in few words, as headers say them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingName } from '../../src/experiment/setting-name';

const named = (quantization: object, training: object = {}): string | null =>
  settingName({ model: { path: 'm' }, data: { train: ['a'] }, quantization, training });

test('methods, grids, activations, starts and what else trains', () => {
  assert.equal(named({}), 'LR-QAT · W4 · rank 32');
  assert.equal(
    named({
      weights: { bits: 2, granularity: { group: 128 }, symmetric: false },
      activations: 'a8-kv4',
      lowRank: { rank: 8 },
      start: { integers: 'gptq', lowRank: 'svd' },
      layers: [{ match: '*', bits: 4 }],
    }),
    'LR-QAT · W2 g128 with zero points with exceptions · A8KV4 · rank 8 · from GPTQ · A·B from singular values',
  );
  assert.equal(
    named(
      { method: 'lsq', start: { integers: 'gptq' } },
      { distillation: { weight: 0.5 }, learningRate: { norms: 1e-4 } },
    ),
    'LSQ · W4 · distillation 0.5 · norms trained',
  );
  assert.equal(
    named({ method: 'gptq', activations: { range: 'static', learn: true } }, { distillation: { weight: 1 } }),
    'GPTQ · W4 · A8, static ranges',
  );
  assert.equal(named({ method: 'rtn', weights: { granularity: 'per-tensor' } }), 'round-to-nearest · W4 per tensor');
});

test('what is no experiment has no name', () => {
  for (const wrong of [null, 'x', 1, [], { quantization: 'x' }, { quantization: { weights: 3 } }]) {
    assert.doesNotThrow(() => settingName(wrong), JSON.stringify(wrong));
  }
  assert.equal(settingName(null), null);
  assert.equal(settingName({ quantization: null }), null);
});
