import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { learningRateFactor, warmupSteps, type ScheduleSettings } from '../../src/trainer/schedule';

const settings: ScheduleSettings = { steps: 20, schedule: 'linear', warmupRatio: 0.25, finalLearningRateRatio: 0 };

function course(changes: Partial<ScheduleSettings>): number[] {
  const merged = { ...settings, ...changes };
  return Array.from({ length: merged.steps }, (_, index) => learningRateFactor(merged, index));
}

const golden = ['test/goldens/data/training/index.json', '../shared/goldens/training/index.json'].find(existsSync);

test(
  'the linear schedule is that of the golden runs',
  { skip: golden === undefined && 'no goldens: neither test/goldens/data nor ../shared/goldens is there' },
  () => {
    const index = JSON.parse(readFileSync(golden!, 'utf8')) as {
      cases: { id: string; lr_factor: number[]; settings: { steps: number; warmup: number } }[];
    };
    assert.ok(index.cases.length > 0);
    for (const { id, lr_factor, settings: run } of index.cases) {
      const factors = course({ steps: run.steps, warmupRatio: run.warmup / run.steps });
      assert.equal(factors.length, lr_factor.length, id);
      // The goldens are printed with nine digits.
      for (const [i, factor] of factors.entries())
        assert.ok(Math.abs(factor - lr_factor[i]!) < 1e-9, `${id} step ${i}`);
    }
  },
);

test('with warm-up the first step has learning rate 0, without it the peak', () => {
  assert.equal(course({})[0], 0);
  assert.equal(course({ warmupRatio: 0 })[0], 1);
});

test('the warm-up reaches the peak exactly once it is over', () => {
  for (const schedule of ['linear', 'cosine', 'constant'] as const) assert.equal(course({ schedule })[5], 1);
});

test('every schedule ends towards the final ratio, one step before it', () => {
  const linear = course({ finalLearningRateRatio: 0.1 });
  assert.ok(Math.abs(linear.at(-1)! - (0.1 + 0.9 / 15)) < 1e-12);
  const cosine = course({ schedule: 'cosine', finalLearningRateRatio: 0.1 });
  assert.ok(Math.abs(cosine.at(-1)! - (0.1 + 0.45 * (1 + Math.cos((Math.PI * 14) / 15)))) < 1e-12);
  assert.equal(course({ schedule: 'constant' }).at(-1), 1);
});

test('the cosine is half-way down in the middle', () => {
  const half = learningRateFactor({ ...settings, steps: 25, warmupRatio: 0.2, schedule: 'cosine' }, 15);
  assert.ok(Math.abs(half - 0.5) < 1e-12);
});

test('warm-up steps are rounded', () => {
  assert.equal(warmupSteps({ steps: 7, warmupRatio: 0.1 }), 1);
  assert.equal(warmupSteps({ steps: 3, warmupRatio: 0.1 }), 0);
});

test('a warm-up of all steps never divides by zero', () => {
  const factors = course({ steps: 4, warmupRatio: 1 });
  assert.deepEqual(factors, [0, 0.25, 0.5, 0.75]);
});
