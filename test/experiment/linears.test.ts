import assert from 'node:assert/strict';
import test from 'node:test';

import { matchesGlob, resolveLinears } from '../../src/experiment';
import { linearNames } from '../../src/formats/model-shape';
import { experimentWith, randomNumbers } from './make';
import { tiny } from './shapes';

test('globs match whole names, * spans dots', () => {
  const name = 'model.layers.10.mlp.down_proj';
  for (const glob of ['*', name, '*.down_proj', 'model.layers.10.*', '*.10.*proj', '*layers*mlp*', '**', 'm*j']) {
    assert.ok(matchesGlob(glob, name), glob);
  }
  for (const glob of ['', 'down_proj', '*.1.*', 'model.layers.1.*', '*.down_proj.*', 'model', '*.10.*.10.*', 'm*x']) {
    assert.ok(!matchesGlob(glob, name), glob);
  }
});

test('property: globs agree with regular expressions', () => {
  const random = randomNumbers(1);
  const letters = ['a', 'b', '.', '*'];
  const word = (length: number, alphabet: readonly string[]): string =>
    Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join('');
  for (let round = 0; round < 5000; round++) {
    const glob = word(Math.floor(random() * 7), letters);
    const name = word(Math.floor(random() * 9), letters.slice(0, 3));
    const expression = new RegExp(`^${glob.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
    assert.equal(matchesGlob(glob, name), expression.test(name), `${glob} on ${name}`);
  }
});

test('every linear in model order, from the common settings', () => {
  const linears = resolveLinears(experimentWith('quantization.weights.bits=3', 'quantization.lowRank.alpha=2'), tiny);
  assert.deepEqual(Object.keys(linears), linearNames(tiny));
  assert.deepEqual(linears['model.layers.2.mlp.up_proj'], {
    bits: 3,
    groupSize: -1,
    storage: 'fixed-point',
    fractionBits: 5,
    encoding: 'reference',
    range: 'lp-4',
    scaleDomain: 'linear',
    scaleFormat: 'fp32',
    learnScales: true,
    rank: 32,
    alpha: 2,
  });
});

test('overrides: the last match that sets a key wins, key by key', () => {
  const linears = resolveLinears(
    experimentWith(
      'quantization.layers=[{"match":"*.mlp.*","bits":3,"rank":4},{"match":"*.down_proj","bits":5,"granularity":{"group":43}},{"match":"model.layers.0.*","skip":true},{"match":"model.layers.0.mlp.down_proj","skip":false}]',
    ),
    tiny,
  );
  assert.equal(linears['model.layers.0.self_attn.q_proj'], null);
  assert.equal(linears['model.layers.0.mlp.down_proj']?.bits, 5);
  assert.equal(linears['model.layers.1.mlp.down_proj']?.groupSize, 43);
  assert.equal(linears['model.layers.1.mlp.down_proj'].rank, 4);
  assert.equal(linears['model.layers.1.mlp.up_proj']?.bits, 3);
  assert.equal(linears['model.layers.1.self_attn.q_proj']?.bits, 4);
});

test('fraction bits follow the bits; 1 and 2 use the centred code', () => {
  const cases: readonly [sets: string[], fractionBits: number, encoding: string][] = [
    [['quantization.weights.bits=2'], 6, 'reference'],
    [['quantization.weights.bits=6'], 2, 'centred'],
    [['quantization.weights.bits=7'], 1, 'centred'],
    [['quantization.weights.bits=8'], 0, 'reference'],
    [['quantization.weights.bits=4', 'quantization.fractionBits=2'], 2, 'centred'],
    [['quantization.fractionBits=2', 'quantization.encoding=reference'], 2, 'reference'],
    [['quantization.encoding=centred'], 4, 'centred'],
    [['quantization.storage=integer'], 0, 'reference'],
    [['quantization.fractionBits=1', 'quantization.layers=[{"match":"*","fractionBits":null}]'], 4, 'reference'],
  ];
  for (const [sets, fractionBits, encoding] of cases) {
    const linear = resolveLinears(experimentWith(...sets), tiny)['model.layers.0.mlp.up_proj'];
    assert.equal(linear?.fractionBits, fractionBits, sets.join(' '));
    assert.equal(linear.encoding, encoding, sets.join(' '));
  }
});

test('round-to-nearest trains nothing', () => {
  const linear = resolveLinears(experimentWith('quantization.method=rtn'), tiny)['model.layers.0.mlp.up_proj'];
  assert.equal(linear?.rank, 0);
  assert.equal(linear.learnScales, false);
});

test('PEQA trains the scales of frozen integers alone', () => {
  const sets = ['quantization.method=peqa', 'quantization.storage=bf16', 'quantization.weights.symmetric=false'];
  const linear = resolveLinears(experimentWith(...sets), tiny)['model.layers.0.mlp.up_proj'];
  assert.equal(linear?.storage, 'integer');
  assert.equal(linear.rank, 0);
  assert.equal(linear.learnScales, true);
  assert.equal(linear.learnZeroPoints, false);
});

test('LSQ trains the weights themselves, with scales and zero points', () => {
  const sets = ['quantization.method=lsq', 'quantization.storage=bf16', 'quantization.weights.symmetric=false'];
  const linear = resolveLinears(experimentWith(...sets), tiny)['model.layers.0.mlp.up_proj'];
  assert.equal(linear?.storage, 'trained');
  assert.equal(linear.rank, 0);
  assert.equal(linear.learnScales, true);
  assert.equal(linear.learnZeroPoints, true);
  assert.equal(linear.gradientScaling, undefined);
  const scaled = resolveLinears(experimentWith(...sets, 'quantization.lsq.gradientScaling=true'), tiny);
  assert.equal(scaled['model.layers.0.mlp.up_proj']?.gradientScaling, true);
});

test('zero points are learned with the scales', () => {
  const resolved = (...sets: string[]): unknown[] => {
    const linear = resolveLinears(experimentWith(...sets), tiny)['model.layers.1.mlp.up_proj'];
    return [linear?.symmetric, linear?.learnZeroPoints];
  };
  const asymmetric = 'quantization.weights.symmetric=false';
  assert.deepEqual(resolved(), [undefined, undefined]);
  assert.deepEqual(resolved(asymmetric), [false, true]);
  assert.deepEqual(resolved(asymmetric, 'quantization.learnZeroPoints=false'), [false, false]);
  assert.deepEqual(resolved(asymmetric, 'quantization.learnScales=false'), [false, false]);
  assert.deepEqual(resolved(asymmetric, 'quantization.method=rtn'), [false, false]);
  assert.deepEqual(resolved('quantization.layers=[{"match":"*.up_proj","symmetric":false}]'), [false, true]);
  assert.deepEqual(resolved('quantization.layers=[{"match":"*.down_proj","symmetric":false}]'), [undefined, undefined]);
});

test('zero points leave the device as it is', () => {
  const device = (...sets: string[]): string => experimentWith(...sets).device;
  assert.equal(device('quantization.weights.symmetric=false'), 'auto');
  assert.equal(device('device=cuda:1', 'quantization.layers=[{"match":"*.up_proj","symmetric":false}]'), 'cuda:1');
});

test('a device is left to the machine with every method', () => {
  const device = (...sets: string[]): string => experimentWith(...sets).device;
  assert.equal(device(), 'auto');
  assert.equal(device('quantization.method=lsq'), 'auto');
  assert.equal(device('quantization.method=peqa'), 'auto');
  assert.equal(device('quantization.activations="a8"'), 'auto');
});

test('granularities', () => {
  const group = (granularity: string): number | undefined =>
    resolveLinears(experimentWith(`quantization.weights.granularity=${granularity}`), tiny)[
      'model.layers.0.mlp.up_proj'
    ]?.groupSize;
  assert.equal(group('per-tensor'), 0);
  assert.equal(group('per-channel'), -1);
  assert.equal(group('{"group":16}'), 16);
});
