// Which linear gets how many bits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseExperiment, type Experiment } from '../../src/experiment';
import { bitSettings, chooseBits, withBitSettings, type LinearOptions } from '../../src/experiment/mixed-bits';
import { overridesFor } from '../../src/experiment/linears';

const linear = (name: string, weights: number, losses: Record<number, number>): LinearOptions => ({
  name,
  weights,
  scaleBits: 0,
  losses: new Map(Object.entries(losses).map(([bits, loss]) => [Number(bits), loss])),
});

test('bits go where they save most', () => {
  const linears = [linear('a', 100, { 2: 1, 3: 0.1, 4: 0.05 }), linear('b', 100, { 2: 0.2, 3: 0.1, 4: 0.05 })];
  const at = (budget: number): (number | undefined)[] => {
    const choice = chooseBits(linears, budget);
    return [choice?.bits.get('a'), choice?.bits.get('b')];
  };
  assert.deepEqual(at(1.9), [undefined, undefined]);
  assert.deepEqual(at(2), [2, 2]);
  assert.deepEqual(at(2.5), [3, 2]);
  assert.deepEqual(at(2.9), [3, 2]);
  assert.deepEqual(at(3), [3, 3]);
  assert.deepEqual(at(100), [4, 4]);
  const choice = chooseBits(linears, 3)!;
  assert.equal(choice.bitsPerWeight, 3);
  assert.ok(Math.abs(choice.expectedLoss - 0.2) < 1e-12);
});

test('scales count, and wider bits that lose more are not taken', () => {
  const scaled = { ...linear('a', 100, { 2: 0.5, 3: 0.6 }), scaleBits: 50 };
  assert.equal(chooseBits([scaled], 2.4), null);
  assert.deepEqual(chooseBits([scaled], 8), { bits: new Map([['a', 2]]), bitsPerWeight: 2.5, expectedLoss: 0.5 });
});

/** The least sum of losses of all mixtures within a budget. */
function leastLoss(linears: readonly LinearOptions[], budget: number): number {
  const widths = [2, 3, 4];
  const total = linears.reduce((sum, { weights }) => sum + weights, 0);
  let least = Infinity;
  for (let code = 0; code < widths.length ** linears.length; code++) {
    const bits = linears.map((_, index) => widths[Math.floor(code / widths.length ** index) % widths.length]!);
    const size = linears.reduce((sum, { weights }, index) => sum + weights * bits[index]!, 0);
    if (size > budget * total) continue;
    least = Math.min(
      least,
      linears.reduce((sum, { losses }, index) => sum + losses.get(bits[index]!)!, 0),
    );
  }
  return least;
}

test('no mixture within the budget is better, but for what a last step would gain', () => {
  // A small generator, so that the cases are always the same.
  let state = 7;
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    const isEven = round % 2 === 0;
    const linears = Array.from({ length: 5 }, (_, index) => {
      // Convex: the first bit saves more than the second.
      const second = random();
      const first = second + random();
      const losses = { 2: first + second, 3: second, 4: 0 };
      return linear(String(index), isEven ? 3 : 1 + Math.floor(random() * 9), losses);
    });
    const budget = isEven ? 2 + Math.floor(10 * random()) / 5 : 2 + 2 * random();
    const { expectedLoss, bitsPerWeight } = chooseBits(linears, budget)!;
    assert.ok(bitsPerWeight <= budget + 1e-9);
    const least = leastLoss(linears, budget + 1e-9);
    // With linears of one size every step fits exactly, and the choice is the best there is.
    const slack = isEven ? 0 : Math.max(...linears.map(({ losses }) => losses.get(2)! - losses.get(3)!));
    assert.ok(expectedLoss <= least + slack + 1e-12, `${String(expectedLoss)} against ${String(least)}`);
  }
});

const TEXT = `{
  // kept
  "model": { "path": "m" },
  "data": { "train": ["t.txt"] },
  "quantization": {
    "weights": { "bits": 2, "granularity": "per-channel" }
  }
}
`;

function experimentOf(text: string): Experiment {
  const { experiment, problems } = parseExperiment(text, 'x.lrqat.json');
  assert.ok(experiment, JSON.stringify(problems));
  return experiment;
}

const names = (blocks: number): string[] =>
  Array.from({ length: blocks }, (_, block) =>
    ['self_attn.q_proj', 'self_attn.k_proj', 'mlp.down_proj'].map((kind) => `model.layers.${String(block)}.${kind}`),
  ).flat();

function check(text: string, bits: ReadonlyMap<string, number>): string {
  const changed = withBitSettings(text, bitSettings(experimentOf(text), bits));
  const { quantization } = experimentOf(changed);
  for (const [name, wanted] of bits) {
    assert.equal(overridesFor(quantization.layers, name).bits ?? quantization.weights.bits, wanted, name);
  }
  return changed;
}

test('settings say it in few entries, comments stay', () => {
  const bits = new Map(names(12).map((name) => [name, name.endsWith('down_proj') ? 4 : name.includes('.11.') ? 8 : 3]));
  const changed = check(TEXT, bits);
  assert.equal(
    changed,
    TEXT.replace('"bits": 2', '"bits": 3').replace(
      '"per-channel" }',
      `"per-channel" },
    "layers": [
      { "match": "*.mlp.down_proj", "bits": 4 },
      { "match": "model.layers.11.self_attn.q_proj", "bits": 8 },
      { "match": "model.layers.11.self_attn.k_proj", "bits": 8 }
    ]`,
    ),
  );
});

test('a block of its own, and none that a longer number begins with', () => {
  const bits = new Map(names(12).map((name) => [name, name.includes('layers.1.') ? 4 : 2]));
  const { layers } = bitSettings(experimentOf(TEXT), bits);
  assert.deepEqual(layers, [{ match: 'model.layers.1.*', bits: 4 }]);
});

test('exceptions that are there already are overruled where they must be', () => {
  const text = TEXT.replace(
    '"per-channel" }',
    '"per-channel" },\n    "layers": [\n      { "match": "*.down_proj", "bits": 5 } // mine\n    ]',
  );
  const bits = new Map(names(2).map((name) => [name, name.endsWith('1.mlp.down_proj') ? 5 : 3]));
  const changed = check(text, bits);
  assert.match(changed, /"bits": 5 \}, \/\/ mine\n {6}\{ "match": "model\.layers\.0\.mlp\.down_proj", "bits": 3 \}\n/);
});

test('nothing to change but the width', () => {
  const bits = new Map(names(2).map((name) => [name, 4]));
  assert.equal(check(TEXT, bits), TEXT.replace('"bits": 2', '"bits": 4'));
});
