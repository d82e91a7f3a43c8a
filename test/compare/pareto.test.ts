import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onFront, pareto, paretoPicture, svgText, type Json } from '../../src/compare';
import { result, run } from './runs';

const front = (...points: [cost: number, perplexity: number][]) =>
  onFront(points.map(([cost, perplexity]) => ({ cost, perplexity })));

test('the front: nothing cheaper is as good, nothing better costs the same', () => {
  assert.deepEqual(front(), []);
  assert.deepEqual(front([2, 60]), [true]);
  assert.deepEqual(front([2, 60], [3, 55], [4, 57], [16, 49]), [true, true, false, true]);
  // Order does not matter.
  assert.deepEqual(front([16, 49], [4, 57], [3, 55], [2, 60]), [true, false, true, true]);
});

test('ties: equal cost leaves the better one, equal perplexity the cheaper one, equal points stay together', () => {
  assert.deepEqual(front([2, 60], [2, 58]), [false, true]);
  assert.deepEqual(front([2, 58], [3, 58]), [true, false]);
  assert.deepEqual(front([2, 58], [2, 58], [3, 58], [2, 58]), [true, true, false, true]);
  assert.deepEqual(front([3, 50], [2, 58], [3, 50], [3, 51]), [true, true, true, false]);
});

test('what is no number is never on the front and hides nobody', () => {
  assert.deepEqual(front([NaN, 1], [2, NaN], [Infinity, 1], [1, Infinity], [2, 60]), [
    false,
    false,
    false,
    false,
    true,
  ]);
});

test('the front agrees with its definition on random points with many ties', () => {
  let seed = 7;
  const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round++) {
    const points = Array.from({ length: 12 }, () => ({
      cost: Math.ceil(random() * 5),
      perplexity: Math.ceil(random() * 5),
    }));
    const dominated = points.map((point) =>
      points.some(
        (other) =>
          other.cost <= point.cost &&
          other.perplexity <= point.perplexity &&
          (other.cost < point.cost || other.perplexity < point.perplexity),
      ),
    );
    assert.deepEqual(
      onFront(points),
      dominated.map((each) => !each),
    );
  }
});

const at = (bits: number, trained: number | null, roundToNearest = 20, float = 10) =>
  result(trained ?? NaN, {
    perplexity: { float, roundToNearest, trained, merged: trained },
    bitsPerWeight: bits,
    modelBytes: bits * 1e6,
    float: { bitsPerWeight: 16, modelBytes: 16e6 },
  });

test('runs are points, float and round-to-nearest are shared by those that have the same', () => {
  const runs = [
    run('a', {}, { result: at(2, 15) }),
    run('b', {}, { result: at(2, 14) }),
    run('c', {}, { result: at(3, 12, 13) }),
    run('d', {}, { state: 'running' }),
    run('e', {}, { result: at(4, null) }),
  ];
  const { points, missing, references, isMixed } = pareto(runs, 'bitsPerWeight');
  const of = (kind: string) => points.filter((point) => point.kind === kind);
  assert.deepEqual(
    of('run').map(({ label, onFront: on }) => [label, on]),
    [
      ['a', false],
      ['b', true],
      ['c', true],
    ],
  );
  assert.deepEqual(
    of('float').map(({ label, cost, runs: who, onFront: on }) => [label, cost, who, on]),
    [['float', 16, [0, 1, 2, 4], true]],
  );
  assert.deepEqual(
    of('round-to-nearest').map(({ label, cost, perplexity, runs: who }) => [label, cost, perplexity, who]),
    [
      ['round-to-nearest, 2.00 bits', 2, 20, [0, 1]],
      ['round-to-nearest, 3.00 bits', 3, 13, [2]],
      ['round-to-nearest, 4.00 bits', 4, 20, [4]],
    ],
  );
  assert.deepEqual([missing, references, isMixed], [[3, 4], [], false]);
});

test('rounding to nearest that differs in activations, or in what no label says, is told apart', () => {
  const quantized = (activations: Json): Json => ({ quantization: { activations } });
  const runs = [
    run('a', quantized(null), { result: at(2, 15, 20) }),
    run('b', quantized('a8-kv4'), { result: at(2, 15, 21) }),
    run('c', quantized({ bits: 4, range: 'static', learn: true }), { result: at(2, 15, 25) }),
    run('d', quantized('nonsense'), { result: at(2, 15, 23) }),
  ];
  const labels = pareto(runs, 'bitsPerWeight')
    .points.filter(({ kind }) => kind === 'round-to-nearest')
    .map(({ label }) => label);
  assert.deepEqual(labels, [
    'round-to-nearest, 2.00 bits, 20.000',
    'round-to-nearest, 2.00 bits, A8KV4',
    'round-to-nearest, 2.00 bits, A4, static ranges',
    'round-to-nearest, 2.00 bits, 23.000',
  ]);
});

test('against memory of training float and round-to-nearest are lines; other models are told', () => {
  const runs = [run('a', {}, { result: at(2, 15) }), run('b', {}, { result: at(2, 14, 20, 11) })];
  const { points, references, isMixed } = pareto(runs, 'peakMemoryBytes');
  assert.deepEqual(
    points.map(({ kind }) => kind),
    ['run', 'run'],
  );
  assert.deepEqual(
    references.map(({ kind, perplexity }) => [kind, perplexity]),
    [
      ['float', 10],
      ['float', 11],
      ['round-to-nearest', 20],
    ],
  );
  assert.equal(isMixed, true);
});

test('the picture has every point, names that are escaped, and a front; without points there is none', () => {
  const nasty = '<img src=x onerror="alert(1)"> & co';
  const runs = [
    run('a', {}, { result: at(2, 15), notes: { name: nasty } }),
    run('b', {}, { result: at(3, 12) }),
    run('c', {}, { result: at(3, 18) }),
  ];
  const content = pareto(runs, 'bitsPerWeight');
  const picture = paretoPicture(content, { width: 600, height: 300, log: null });
  assert.ok(picture !== null);
  const text = svgText(picture.svg);
  assert.equal(text.match(/<circle /g)?.length, 3);
  assert.match(text, /<path class="front" d="M[\d. ]+(H[\d.]+V[\d.]+)+"/);
  assert.ok(!text.includes('<img'), text);
  assert.match(text, /&lt;img src=x/);
  for (const { x, y } of picture.points) assert.ok(x >= 58 && x <= 584 && y >= 12 && y <= 260, `${x}, ${y}`);
  // Less perplexity is lower, more bits are further to the right.
  const place = (label: string) => picture.points.find(({ point }) => point.label === label);
  assert.ok(place('b')!.y > place('c')!.y && place('b')!.x > place(nasty)!.x);
  assert.equal(paretoPicture(pareto([run('d', {})], 'modelBytes'), { width: 600, height: 300, log: null }), null);
});

test('a single point and one value of all are drawn in finite places', () => {
  for (const log of [true, false, null]) {
    const picture = paretoPicture(pareto([run('a', {}, { result: at(2, 15, 15, 15) })], 'modelBytes'), {
      width: 300,
      height: 200,
      log,
    });
    assert.ok(picture !== null);
    assert.ok(picture.points.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)));
    assert.doesNotMatch(svgText(picture.svg), /NaN|Infinity/);
  }
});
