// Climbing to learning rates, and the slots in which the runs of a table go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slots } from './pool';
import { climb, type Rates } from './search';

void test('a climb doubles or halves one rate after the other until that stops helping, and asks nothing twice', async () => {
  const asked: string[] = [];
  // A valley at lowRank 0.016 and scales 0.00025.
  const loss = ({ lowRank = 0, scales = 0 }: Rates) => {
    asked.push(`${String(lowRank)} ${String(scales)}`);
    return Promise.resolve(Math.log2(lowRank / 0.016) ** 2 + Math.log2(scales / 0.00025) ** 2);
  };
  const { rates } = await climb({ lowRank: 0.004, scales: 0.0005 }, ['lowRank', 'scales'], loss);
  assert.deepEqual(rates, { lowRank: 0.016, scales: 0.00025 });
  assert.deepEqual(asked, [
    '0.004 0.0005',
    '0.008 0.0005',
    '0.016 0.0005',
    '0.032 0.0005',
    '0.016 0.001',
    '0.016 0.00025',
    '0.016 0.00013',
  ]);
});

void test('rates that diverge lose against any that does not', async () => {
  const loss = ({ scales = 0 }: Rates) => Promise.resolve(scales > 1e-3 ? NaN : 1 / scales);
  assert.deepEqual((await climb({ scales: 5e-4 }, ['scales'], loss)).rates, { scales: 1e-3 });
});

void test('no more at once than slots, the lower rank first, and a failure gives its slot back', async () => {
  const order: string[] = [];
  let running = 0;
  let most = 0;
  const pool = slots(2);
  const work =
    (name: string, fails = false) =>
    async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      order.push(name);
      running -= 1;
      if (fails) throw new Error(name);
    };
  const all = [
    pool.run(2, work('late 1', true)),
    pool.run(2, work('late 2')),
    pool.run(2, work('late 3')),
    pool.run(0, work('early')),
    pool.run(1, work('middle')),
  ];
  const outcomes = await Promise.allSettled(all);
  assert.equal(most, 2);
  // The first two found free slots.
  assert.deepEqual(order, ['late 1', 'late 2', 'early', 'middle', 'late 3']);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled', 'fulfilled', 'fulfilled'],
  );
  assert.throws(() => slots(0), /0 slots/);
});
