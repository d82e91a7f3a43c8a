import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  fractionOf,
  pixelBorders,
  roomyAxis,
  shifted,
  valueAt,
  within,
  zoomed,
  type Axis,
} from '../../webview/shared/series/axis';
import { Columns, lowerBound } from '../../webview/shared/series/columns';
import { Pyramid } from '../../webview/shared/series/pyramid';
import { Slices } from '../../webview/shared/series/slices';
import { averageOf, Smoothed } from '../../webview/shared/series/smoothed';
import { Plain, Positive } from '../../webview/shared/series/source';
import { after, nearest, thin } from '../../webview/shared/series/thin';
import { ticks } from '../../webview/shared/series/ticks';
import { followsAfter, fullAxis, shownAxis } from '../../webview/shared/series/view';
import { randomNumbers } from './events';

const linear = (min: number, max: number): Axis => ({ kind: 'linear', min, max });
const log = (min: number, max: number): Axis => ({ kind: 'log', min, max });
const close = (actual: number, wanted: number, relative = 1e-12) =>
  assert.ok(Math.abs(actual - wanted) <= relative * Math.max(1, Math.abs(wanted)), `${actual} is not ${wanted}`);

/** Values with gaps. */
function noisy(length: number, seed: number): Float64Array {
  const random = randomNumbers(seed);
  return Float64Array.from({ length }, () => (random() < 0.1 ? NaN : random() * 2 - 0.5));
}

/** A column that can grow and be cut, with its pyramid. */
function growing() {
  const columns = new Columns(['x', 'y'] as const, 1);
  const source = new Plain(() => columns.column('y'));
  return { columns, source, pyramid: new Pyramid(source) };
}

void describe('Columns', () => {
  it('grow, are cut, and take over rows from buffers', () => {
    const columns = new Columns(['a', 'b'] as const, 1);
    for (let row = 0; row < 1000; row++) columns.push({ a: row, b: -row });
    columns.truncate(500);
    assert.deepEqual([columns.length, columns.column('a').at(-1)], [500, 499]);
    const other = new Columns(['a', 'b'] as const, 1);
    other.push({ a: 7, b: 7 });
    other.push({ a: 8, b: 8 });
    const buffers = columns.buffers(498, 500);
    other.replace(1, 2, buffers);
    assert.deepEqual([...other.column('a')], [7, 498, 499]);
    assert.deepEqual([...other.column('b')], [7, -498, -499]);
    columns.truncate(0);
    assert.equal(new Float64Array(buffers.a)[0], 498);
  });
});

void describe('search', () => {
  it('finds bounds and neighbours in columns with repeated values', () => {
    const sorted = Float64Array.of(1, 2, 2, 2, 5);
    assert.deepEqual(
      [0, 1, 2, 3, 5, 6].map((value) => lowerBound(sorted, value)),
      [0, 0, 1, 4, 4, 5],
    );
    assert.deepEqual(
      [0, 1, 2, 3, 5, 6].map((value) => after(sorted, value)),
      [0, 1, 4, 4, 5, 5],
    );
    assert.deepEqual(
      [-9, 1.4, 1.6, 3.4, 3.6, 99].map((value) => nearest(sorted, value)),
      [0, 0, 1, 3, 4, 4],
    );
    assert.equal(nearest(new Float64Array(0), 1), -1);
  });
});

void describe('Pyramid', () => {
  const plain = (values: Float64Array, from: number, to: number) => {
    const numbers = [...values.subarray(from, to)].filter((value) => !Number.isNaN(value));
    return numbers.length === 0 ? null : [Math.min(...numbers), Math.max(...numbers)];
  };

  it('finds the extremes of any stretch, while the column grows and is cut', () => {
    const random = randomNumbers(5);
    const { columns, source, pyramid } = growing();
    const found = { least: -1, greatest: -1 };
    for (let move = 0; move < 60; move++) {
      if (random() < 0.2) {
        const keep = Math.floor(random() * columns.length);
        columns.truncate(keep);
        pyramid.cut(keep);
      }
      for (const y of noisy(Math.floor(random() * 400), move + 1)) columns.push({ x: columns.length, y });
      for (let look = 0; look < 20; look++) {
        const from = Math.floor(random() * (columns.length + 1));
        const to = from + Math.floor(random() * (columns.length - from + 1));
        pyramid.extremes(from, to, found);
        const wanted = plain(source.values(), from, to);
        const values = source.values();
        const actual = found.least < 0 ? null : [values[found.least], values[found.greatest]];
        assert.deepEqual(actual, wanted, `${from} to ${to} of ${columns.length}`);
      }
    }
  });

  it('knows stretches without any number', () => {
    const source = new Plain(() => new Float64Array(1000).fill(NaN));
    assert.deepEqual(new Pyramid(source).extremes(3, 900, { least: 5, greatest: 5 }), { least: -1, greatest: -1 });
  });
});

void describe('smoothing', () => {
  const smooth = (values: readonly number[], weight: number) => [...averageOf(Float64Array.from(values), weight)];
  /** The formula, row by row. */
  const formula = (values: Float64Array, weight: number) => {
    let sum = 0;
    let missing = 1;
    return values.map((value) => {
      if (!Number.isNaN(value)) {
        sum = weight * sum + (1 - weight) * value;
        missing *= weight;
      }
      return Number.isNaN(value) ? NaN : sum / (1 - missing);
    });
  };
  const always = () => true;
  /** Lets a computation look at the clock so many times. */
  const looks = (count: number) => () => count-- > 0;

  it('is the weighted mean of all values so far', () => {
    const values = [4, 2, 8, 6, 1];
    for (const weight of [0, 0.3, 0.9, 0.999]) {
      values.forEach((_, at) => {
        const weights = values.slice(0, at + 1).map((_each, index) => weight ** (at - index));
        const total = weights.reduce((sum, each) => sum + each, 0);
        const mean = weights.reduce((sum, each, index) => sum + each * values[index]!, 0) / total;
        close(smooth(values, weight)[at]!, mean, 1e-9);
      });
    }
  });

  it('leaves a constant as it is from the first value on', () => {
    smooth([3, 3, 3, 3], 0.99).forEach((value) => close(value, 3));
  });

  it('has the gaps of the values, and goes on behind them', () => {
    const [first, ...rest] = smooth([NaN, 4, NaN, 2], 0.5);
    assert.ok(Number.isNaN(first));
    close(rest[0]!, 4);
    assert.ok(Number.isNaN(rest[1]));
    close(rest[2]!, (4 * 0.5 + 2) / 1.5);
  });

  it('comes to the same when it goes on after rows were appended or replaced', () => {
    const random = randomNumbers(9);
    const { columns, source } = growing();
    const smoothed = new Smoothed(source, 0.9);
    for (let move = 0; move < 50; move++) {
      const keep = Math.floor(random() * (columns.length + 1));
      if (random() < 0.3) {
        columns.truncate(keep);
        smoothed.cut(keep);
      }
      for (const y of noisy(Math.floor(random() * 30), move + 1)) columns.push({ x: 0, y });
      smoothed.advance(always);
      const afresh = formula(source.values(), 0.9);
      assert.equal(smoothed.values().length, afresh.length);
      smoothed.values().forEach((value, at) => {
        if (Number.isNaN(afresh[at])) assert.ok(Number.isNaN(value));
        else close(value, afresh[at]!, 1e-9);
      });
    }
  });

  it('is the formula to the bit, however it was cut into slices', () => {
    const values = noisy(300_000, 77);
    for (const weight of [0.05, 0.9, 0.999]) {
      const smoothed = new Smoothed(new Plain(() => values), weight);
      let progress = smoothed.advance(looks(2));
      while (!progress.done) progress = smoothed.advance(looks(2));
      assert.deepEqual(smoothed.values(), formula(values, weight));
      const found = smoothed.pyramid.extremes(0, values.length, { least: -1, greatest: -1 });
      const numbers = smoothed.values().filter((value) => !Number.isNaN(value));
      const most = numbers.reduce((one, other) => Math.max(one, other));
      assert.equal(smoothed.values()[found.greatest], most);
    }
  });

  it('shows the average of one weight until that of the newest one is complete', () => {
    const values = noisy(200_000, 5);
    let replaced = 0;
    const smoothed = new Smoothed(new Plain(() => values), 0.5, () => replaced++);
    smoothed.advance(always);
    const before = formula(values, 0.5);
    smoothed.want(0.7);
    assert.deepEqual(smoothed.advance(looks(3)), { done: false, changed: false });
    assert.deepEqual(smoothed.values(), before, 'as it was');
    // Asked for while the one of 0.7 is under way: that one is finished, those between are skipped.
    for (const weight of [0.8, 0.9, 0.95]) {
      smoothed.want(weight);
      smoothed.advance(looks(1));
    }
    const shown = new Set([smoothed.weight]);
    while (!smoothed.advance(looks(2)).done) {
      shown.add(smoothed.weight);
      assert.equal(smoothed.values().length, values.length);
    }
    shown.add(smoothed.weight);
    assert.deepEqual([...shown], [0.5, 0.7, 0.95]);
    assert.equal(replaced, 2);
    assert.deepEqual(smoothed.values(), formula(values, 0.95));
  });

  it('takes in new rows at once, also while another weight is under way', () => {
    const { columns, source } = growing();
    for (const y of noisy(100_000, 3)) columns.push({ x: 0, y });
    const smoothed = new Smoothed(source, 0.9);
    smoothed.advance(always);
    smoothed.want(0.99);
    smoothed.advance(looks(2));
    for (const y of noisy(40, 4)) columns.push({ x: 0, y });
    assert.equal(smoothed.advance(looks(0)).done, false);
    assert.deepEqual(smoothed.values(), formula(source.values(), 0.9));
    columns.truncate(50_000);
    smoothed.cut(50_000);
    smoothed.advance(always);
    const wanted = formula(source.values(), 0.99);
    assert.equal(smoothed.values().length, 50_000);
    smoothed.values().forEach((value, at) => {
      if (!Number.isNaN(wanted[at])) close(value, wanted[at]!, 1e-9);
    });
  });
});

void describe('slices', () => {
  /** A clock that each look moves on by a millisecond. */
  const ticking = () => {
    let now = 0;
    return () => now++;
  };
  const work = (length: number) => {
    let left = length;
    return {
      advance(hasTime: () => boolean) {
        while (left > 0 && hasTime()) left--;
        return { done: left === 0, changed: left === 0 };
      },
      left: () => left,
    };
  };

  it("do a frame's share a frame, in turn, and forget what is dropped", () => {
    const slices = new Slices(ticking());
    const [one, other, gone] = [work(20), work(5), work(1000)];
    slices.begin(8);
    for (const each of [one, other, gone]) slices.add(each);
    assert.ok(one.left() > 0);
    slices.drop(gone);
    let frames = 0;
    let changes = 0;
    for (; slices.pending; frames++) {
      slices.begin(8);
      if (slices.proceed()) changes++;
    }
    assert.deepEqual([one.left(), other.left()], [0, 0]);
    assert.ok(frames >= 2 && frames < 10 && changes >= 1, `${frames} frames`);
    assert.ok(gone.left() > 900);
  });

  it('do everything at once where there are no frames', () => {
    const all = work(1_000_000);
    new Slices().add(all);
    assert.equal(all.left(), 0);
  });
});

void describe('Positive', () => {
  it('keeps what a logarithmic axis can show', () => {
    const values = new Positive(new Plain(() => Float64Array.of(1, 0, -1, NaN, 1e-300))).values();
    assert.deepEqual([...values], [1, NaN, NaN, NaN, 1e-300]);
  });

  it('counts the numbers that it hides, while the column grows and is cut', () => {
    const random = randomNumbers(21);
    const { columns, source } = growing();
    const positive = new Positive(source);
    for (let move = 0; move < 40; move++) {
      if (random() < 0.3) {
        const keep = Math.floor(random() * columns.length);
        columns.truncate(keep);
        positive.cut(keep);
      }
      for (const y of noisy(Math.floor(random() * 50), move + 1)) columns.push({ x: 0, y });
      assert.equal(positive.hidden, source.values().filter((value) => value <= 0).length);
    }
  });
});

void describe('thinning', () => {
  function thinned(x: Float64Array, y: Float64Array, axis: Axis, pixels: number) {
    const { x: xs, y: ys, length } = thin(x, y, new Pyramid(new Plain(() => y)), pixelBorders(axis, pixels));
    return { x: [...xs.subarray(0, length)], y: [...ys.subarray(0, length)] };
  }
  const count = (length: number) => Float64Array.from({ length }, (_, at) => at + 1);

  it('keeps the least and the greatest of every pixel, in order, and at most two', () => {
    for (const [kind, length, pixels] of [
      ['linear', 6000, 211],
      ['log', 6000, 211],
      ['linear', 900, 300],
    ] as const) {
      const axis: Axis = { kind, min: 1, max: length };
      const x = count(length);
      const y = noisy(length, length);
      const result = thinned(x, y, axis, pixels);
      assert.ok(result.x.length <= 2 * pixels + 2);
      const borders = pixelBorders(axis, pixels);
      for (let pixel = 0; pixel < pixels; pixel++) {
        const last = pixel === pixels - 1;
        const on = (at: number) =>
          at >= borders[pixel]! && (last ? at <= borders[pixel + 1]! : at < borders[pixel + 1]!);
        const all = [...y].filter((value, row) => on(x[row]!) && !Number.isNaN(value));
        const kept = result.y.filter((value, at) => on(result.x[at]!) && !Number.isNaN(value));
        assert.ok(kept.length <= 2);
        if (all.length === 0) assert.equal(kept.length, 0);
        else assert.deepEqual([Math.min(...kept), Math.max(...kept)], [Math.min(...all), Math.max(...all)]);
      }
      assert.deepEqual(
        result.x,
        [...result.x].sort((a, b) => a - b),
      );
    }
  });

  it('shows a spike of one step in a million, zoomed out and zoomed in', () => {
    const length = 1_000_000;
    const x = count(length);
    const y = new Float64Array(length).fill(1);
    y[654_321] = 50;
    for (const axis of [linear(1, length), linear(600_000, 700_000), linear(654_300, 654_400), log(1, length)]) {
      const result = thinned(x, y, axis, 500);
      assert.ok(result.y.includes(50), JSON.stringify(axis));
      assert.ok(result.y.length <= 1002);
    }
    assert.ok(!thinned(x, y, linear(1, 1000), 500).y.includes(50));
  });

  it('gives every point where there is room for all, with the neighbours outside', () => {
    const result = thinned(count(100), count(100), linear(10, 20), 50);
    assert.deepEqual(result.x, [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
  });

  it('keeps a gap that fills a pixel, and a pause in x without inventing points', () => {
    const y = count(10_000);
    y.fill(NaN, 4000, 6000);
    const gap = thinned(count(10_000), y, linear(1, 10_000), 100);
    assert.ok(gap.y.some((value) => Number.isNaN(value)));
    const x = count(10_000).map((at) => (at > 5000 ? at + 1e6 : at));
    assert.ok(thinned(x, count(10_000), linear(0, 1e6 + 10_000), 100).x.every((at) => at <= 5000 || at > 1e6));
  });

  it('takes an empty series and one without extent', () => {
    assert.deepEqual(thinned(new Float64Array(0), new Float64Array(0), linear(0, 1), 10), { x: [], y: [] });
    const same = new Float64Array(5000).fill(3);
    assert.ok(thinned(same, count(5000), linear(0, 6), 10).y.includes(5000));
  });
});

void describe('axes', () => {
  it('turn values into fractions and back', () => {
    const random = randomNumbers(3);
    for (let look = 0; look < 500; look++) {
      const min = 10 ** (random() * 6 - 3);
      const axis = random() < 0.5 ? linear(min, min * 100) : log(min, min * 100);
      const fraction = random() * 3 - 1;
      close(fractionOf(axis, valueAt(axis, fraction)), fraction, 1e-9);
    }
    close(fractionOf(log(1, 100), 10), 0.5);
    assert.ok(Number.isNaN(fractionOf(log(1, 100), 0)));
    assert.ok(Number.isNaN(fractionOf(log(1, 100), -5)));
  });

  it('get room around the data, around a constant and around nothing', () => {
    assert.deepEqual(roomyAxis('linear', { min: 0, max: 100 }), linear(-5, 105));
    assert.deepEqual(roomyAxis('linear', { min: 50, max: 50 }), linear(45, 55));
    assert.deepEqual(roomyAxis('linear', { min: 0, max: 0 }), linear(-0.5, 0.5));
    assert.deepEqual(roomyAxis('linear', null), linear(0, 1));
    const logarithmic = roomyAxis('log', { min: 1, max: 100 });
    assert.ok(logarithmic.min > 0.5 && logarithmic.min < 1 && logarithmic.max > 100 && logarithmic.max < 200);
    for (const range of [null, { min: -5, max: 0 }, { min: -1, max: 10 }, { min: 4, max: 4 }]) {
      const { min, max } = roomyAxis('log', range);
      assert.ok(min > 0 && max > min, JSON.stringify(range));
    }
  });

  it('stay within limits at the same length', () => {
    assert.deepEqual(within(linear(-10, 10), linear(0, 100)), linear(0, 20));
    assert.deepEqual(within(linear(95, 115), linear(0, 100)), linear(80, 100));
    assert.deepEqual(within(linear(-50, 500), linear(0, 100)), linear(0, 100));
    const moved = within(log(0.1, 1), log(1, 1000));
    close(moved.min, 1);
    close(moved.max, 10, 1e-9);
  });

  it('zoom around the place that is pointed at, and shift by a share', () => {
    const axis = zoomed(linear(0, 100), 2, 0.25);
    assert.deepEqual(axis, linear(12.5, 62.5));
    close(zoomed(log(1, 100), 2, 0.5).min, 10 ** 0.5, 1e-9);
    assert.deepEqual(shifted(linear(0, 10), 0.5), linear(5, 15));
  });
});

void describe('ticks', () => {
  it('are round numbers within the axis', () => {
    assert.deepEqual(ticks(linear(0, 1), 5, 'decimal'), [0, 0.2, 0.4, 0.6, 0.8, 1]);
    assert.deepEqual(ticks(linear(3.93, 4.38), 5, 'decimal'), [4, 4.1, 4.2, 4.3]);
    assert.deepEqual(ticks(linear(-1, 1), 4, 'decimal'), [-1, -0.5, 0, 0.5, 1]);
    assert.deepEqual(ticks(linear(0, 3), 10, 'integer'), [0, 1, 2, 3]);
    assert.deepEqual(ticks(linear(0, 1e-5), 5, 'decimal'), [0, 2e-6, 4e-6, 6e-6, 8e-6, 1e-5]);
    assert.deepEqual(ticks(linear(5, 5), 5, 'decimal'), []);
  });

  it('of times are what clocks show', () => {
    assert.deepEqual(ticks(linear(0, 100_000), 5, 'time'), [0, 30_000, 60_000, 90_000]);
    assert.deepEqual(
      ticks(linear(0, 5 * 3_600_000), 6, 'time'),
      [0, 1, 2, 3, 4, 5].map((hour) => hour * 3_600_000),
    );
    assert.deepEqual(
      ticks(linear(0, 90 * 86_400_000), 5, 'time'),
      [0, 20, 40, 60, 80].map((day) => day * 86_400_000),
    );
  });

  it('of bytes are round in their unit', () => {
    const mebi = 2 ** 20;
    assert.deepEqual(ticks(linear(0, 300 * mebi), 4, 'bytes'), [0, 100 * mebi, 200 * mebi, 300 * mebi]);
    assert.deepEqual(ticks(linear(0, 3 * 1024 * mebi), 4, 'bytes'), [0, 1024 * mebi, 2048 * mebi, 3072 * mebi]);
  });

  it('of logarithmic axes are powers of ten, with 2 and 5 where there is room, and linear within a decade', () => {
    assert.deepEqual(ticks(log(1, 1e6), 8, 'decimal'), [1, 10, 100, 1000, 1e4, 1e5, 1e6]);
    assert.deepEqual(ticks(log(1, 100), 8, 'decimal'), [1, 2, 5, 10, 20, 50, 100]);
    assert.deepEqual(ticks(log(45, 75), 4, 'decimal'), [50, 60, 70]);
    assert.deepEqual(ticks(log(1e-12, 1e12), 5, 'decimal'), [1e-10, 1e-5, 1, 1e5, 1e10]);
  });

  it('are never many', () => {
    const random = randomNumbers(11);
    for (let look = 0; look < 2000; look++) {
      const min = 10 ** (random() * 12 - 6);
      const max = min * (1 + 10 ** (random() * 8 - 4));
      const axis = random() < 0.5 ? linear(min, max) : log(min, max);
      for (const unit of ['decimal', 'integer', 'time', 'bytes'] as const) {
        const found = ticks(axis, 6, unit);
        assert.ok(found.length <= 9, `${JSON.stringify(axis)} ${unit}: ${found.length}`);
        assert.ok(found.every((value) => value >= min * 0.999999 && value <= max * 1.000001));
      }
    }
  });
});

void describe('view of x', () => {
  const view = (zoom: { min: number; max: number } | null, follow = false) => ({ log: false, zoom, follow });

  it('is everything from zero on, or from the least positive x on a logarithmic axis', () => {
    assert.deepEqual(fullAxis({ max: 150, least: 1 }, false), linear(0, 150));
    assert.deepEqual(fullAxis({ max: 150, least: 1 }, true), log(1, 150));
    for (const data of [null, { max: 0, least: 0 }, { max: 5, least: 5 }, { max: 5, least: 0 }]) {
      for (const logarithmic of [false, true]) {
        const { min, max } = fullAxis(data, logarithmic);
        assert.ok(max > min && (!logarithmic || min > 0));
      }
    }
  });

  it('follows the newest point at the same length, or stays where it is', () => {
    const full = linear(0, 200);
    assert.deepEqual(shownAxis(full, view({ min: 50, max: 100 }, true)).axis, linear(150, 200));
    assert.deepEqual(shownAxis(full, view({ min: 50, max: 100 }, false)).axis, linear(50, 100));
    assert.equal(shownAxis(full, view({ min: -10, max: 300 })).zoom, null);
    assert.deepEqual(shownAxis(full, view(null, true)).axis, full);
    const logFull = log(1, 1000);
    const followed = shownAxis(logFull, { log: true, zoom: { min: 1, max: 10 }, follow: true }).axis;
    close(followed.min, 100, 1e-9);
    assert.equal(followed.max, 1000);
    assert.equal(shownAxis(logFull, { log: true, zoom: { min: -1, max: 10 }, follow: false }).zoom, null);
  });

  it('stops following once it is moved away from the end', () => {
    assert.equal(followsAfter(linear(0, 100), { min: 60, max: 100 }), true);
    assert.equal(followsAfter(linear(0, 100), { min: 50, max: 90 }), false);
  });
});
