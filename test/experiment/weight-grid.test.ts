// Range search and histogram of the weight picture against plain computations.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { searchGrid, searchScale, weightGrid } from '../../src/experiment/weight-grid';

/** Evenly spread quantiles of something bell-shaped, the same at every run. */
function weights(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => {
    const at = (index + 0.5) / count;
    return 0.02 * Math.log(at / (1 - at));
  });
}

/** Rounds halves to even, by the definition. */
function even(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

function loss(
  values: Float32Array,
  scale: number,
  bits: number,
  power: number,
  low: number = -(2 ** (bits - 1)),
): number {
  const high = low + 2 ** bits - 1;
  return values.reduce((sum, value) => {
    const integer = Math.min(high, Math.max(low, even(value / scale)));
    return sum + Math.abs(value - scale * integer) ** power;
  }, 0);
}

test('minmax ends at the largest weight', () => {
  const values = weights(1000);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const bits of [2, 3, 4, 8]) assert.equal(searchScale(values, bits, 'minmax'), largest / (2 ** (bits - 1) - 1));
});

test('the search finds the best of the hundred thresholds', () => {
  const values = weights(777);
  const reach = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [range, power] of [
    ['mse', 2],
    ['lp-2.4', 2.4],
    ['lp-4', 4],
  ] as const) {
    for (const bits of [2, 4]) {
      const scales = Array.from({ length: 100 }, (_, index) => {
        const threshold = Math.fround(Math.fround(reach / 100) * (index + 1));
        return threshold / (2 ** (bits - 1) - 1);
      });
      const losses = scales.map((scale) => loss(values, scale, bits, power));
      const best = scales[losses.indexOf(Math.min(...losses))];
      assert.equal(searchScale(values, bits, range), best, `${range} at ${String(bits)} bits`);
    }
  }
});

test('with zero points: the best of all scales and zero points', () => {
  const values = weights(300).map((value) => value + 0.03);
  const reach = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const bits of [2, 3]) {
    let best = Number.POSITIVE_INFINITY;
    for (let candidate = 1; candidate <= 100; candidate++) {
      const scale = Math.fround(Math.fround(reach / 100) * candidate) / (2 ** (bits - 1) - 1);
      for (let zero = 0; zero < 2 ** bits; zero++) best = Math.min(best, loss(values, scale, bits, 2, -zero));
    }
    const { scale, lowest } = searchGrid(values, bits, 'mse');
    assert.ok(loss(values, scale, bits, 2, lowest) <= best * (1 + 1e-12), `${String(bits)} bits`);
    const settings = { bits, groupSize: -1, range: 'mse' } as const;
    const sample = { rows: 1, columns: 300, values };
    const [symmetric, asymmetric] = [true, false].map((kind) => weightGrid(sample, { ...settings, symmetric: kind }));
    assert.ok(asymmetric!.relativeError < symmetric!.relativeError);
    assert.equal(
      asymmetric!.counts.reduce((a, b) => a + b),
      300,
    );
  }
  const positive = searchGrid(
    weights(64).map((value) => Math.abs(value)),
    4,
    'minmax',
  );
  assert.ok(positive.lowest === 0);
});

test('few bits cut off more with a small exponent', () => {
  const values = weights(2000);
  assert.ok(searchScale(values, 2, 'mse') < searchScale(values, 2, 'lp-4'));
  assert.ok(searchScale(values, 2, 'lp-4') < searchScale(values, 2, 'minmax'));
});

test('weights of zero have a scale above zero', () => {
  assert.ok(searchScale(new Float32Array(8), 4, 'mse') > 0);
  const grid = weightGrid(
    { rows: 1, columns: 8, values: new Float32Array(8) },
    { bits: 4, groupSize: -1, range: 'mse' },
  );
  assert.equal(grid.zeroShare, 1);
  assert.equal(grid.relativeError, 0);
});

test('the histogram counts every weight once; levels and error are those of the grid', () => {
  const values = weights(1024);
  const sample = { rows: 4, columns: 256, values };
  for (const bits of [2, 3, 4, 8]) {
    const grid = weightGrid(sample, { bits, groupSize: 0, range: 'minmax' });
    assert.equal(grid.levels.length, 2 ** bits);
    assert.equal(grid.levels[0], -1);
    assert.equal(grid.levels[2 ** (bits - 1)], 0);
    assert.equal(
      grid.counts.reduce((sum, count) => sum + count, 0),
      values.length,
    );
    const scale = searchScale(values, bits, 'minmax');
    const signal = values.reduce((sum, value) => sum + value * value, 0);
    const wanted = Math.sqrt(loss(values, scale, bits, 2) / signal);
    // Same numbers, added in another order.
    assert.ok(Math.abs(grid.relativeError - wanted) < 1e-9, `${String(bits)} bits`);
    // Half a step is the largest error inside the grid.
    assert.ok(grid.error.every((error) => error <= 0.5 / 2 ** (bits - 1) + 1e-6));
    assert.equal(grid.clippedShare, 0);
  }
});

test('scales of rows and groups are their own', () => {
  // The second row is the first ten times as large: with a scale a row nothing changes.
  const row = weights(64);
  const values = new Float32Array([...row, ...row.map((value) => 10 * value)]);
  const settings = { bits: 4, range: 'minmax' } as const;
  const one = weightGrid({ rows: 1, columns: 64, values: row }, { ...settings, groupSize: -1 });
  const both = weightGrid({ rows: 2, columns: 64, values }, { ...settings, groupSize: -1 });
  const whole = weightGrid({ rows: 2, columns: 64, values }, { ...settings, groupSize: 0 });
  const groups = weightGrid({ rows: 2, columns: 64, values }, { ...settings, groupSize: 16 });
  assert.ok(Math.abs(both.relativeError - one.relativeError) < 1e-6);
  assert.ok(whole.relativeError > both.relativeError);
  assert.ok(groups.relativeError < both.relativeError);
});
