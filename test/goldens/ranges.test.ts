// Range estimation against the official estimators (the goldens' README, "ranges"): scales bit-exact given the same candidate,
// a different candidate only where its loss is within 1e-5 of the golden one's, integers exact, losses to 1e-4.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RangeMethod } from '../../native/binding/addon';
import { differences, groupSize, openFormulas, quantization, shapeOf } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface Case {
  id: string;
  matrix: string;
  bits: number;
  granularity: string;
  /** Differs from `granularity` where the reference falls back to one scale per row (n ≤ g). */
  effective?: string;
  estimator: string;
  symmetric: boolean;
  qmin: number;
  qmax: number;
  margin?: number;
  p?: number;
  opt?: string;
  tensors: { s: string; best?: string; loss?: string; q?: string; dq?: string; z?: string; zf?: string };
}
interface Index {
  file: string;
  cases: Case[];
  must_be_refused: { matrix: string; granularity: string }[];
}

const METHODS: Record<string, RangeMethod> = {
  current_minmax: 'minmax',
  MSE: 'mse',
  LP_p24: 'lp-2.4',
  LP_p3: 'lp-3',
  LP_p35: 'lp-3.5',
  LP_p4: 'lp-4',
  LP_p5: 'lp-5',
};

/** Round half to even. */
function rint(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);

/** Indices of the scale of each element. */
function scaleIndices(rows: number, columns: number, group: number): Int32Array {
  const indices = new Int32Array(rows * columns);
  for (let k = 0; k < indices.length; k++) {
    const row = Math.floor(k / columns);
    indices[k] = group === 0 ? 0 : group < 0 ? row : row * (columns / group) + Math.floor((k % columns) / group);
  }
  return indices;
}

/** Loss of scale number `which` in float64, for near ties. */
function plainLoss(w: Float32Array, indices: Int32Array, which: number, s: number, { qmin, qmax, p }: Case): number {
  let loss = 0;
  w.forEach((x, k) => {
    if (indices[k] === which) loss += Math.abs(x - clamp(rint(Math.fround(x / s)), qmin, qmax) * s) ** p!;
  });
  return loss;
}

const index = readGoldenIndex<Index>('ranges');
test('ranges', { skip: index ? false : 'no ranges folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('ranges', index!.file);
  let nearTies = 0;
  let searched = 0;

  for (const c of index!.cases) {
    const weight = tensors.get(`W.${c.matrix}`);
    const { rows, columns } = shapeOf(weight);
    const w = weight.data as Float32Array;
    const group = groupSize(c.effective ?? c.granularity);
    const golden = tensors.floats(c.tensors.s);

    if (c.opt) {
      await t.test(c.id, { skip: 'optional: bounded scalar minimisation, which no method of the schema uses' });
      continue;
    }
    await t.test(c.id, () => {
      const indices = scaleIndices(rows, columns, group);
      if (!c.symmetric) {
        const zeroPoints = tensors.ints(c.tensors.z!);
        const unrounded = tensors.floats(c.tensors.zf!);
        const lowest = new Float32Array(golden.length).fill(Infinity);
        const highest = new Float32Array(golden.length).fill(-Infinity);
        w.forEach((x, k) => {
          const i = indices[k]!;
          lowest[i] = Math.min(lowest[i]!, x);
          highest[i] = Math.max(highest[i]!, x);
        });
        const found = Array.from(golden, (_, i) => formulas.asymmetricMinMax(lowest[i]!, highest[i]!, c.bits));
        assert.equal(
          differences(
            found.map((f) => f.scale),
            golden,
          ),
          0,
          'scales',
        );
        assert.equal(
          differences(
            found.map((f) => f.zeroPointUnrounded),
            unrounded,
          ),
          0,
          'unrounded zero points',
        );
        assert.equal(
          differences(
            found.map((f) => f.zeroPoint),
            zeroPoints,
          ),
          0,
          'zero points',
        );
        const searched = formulas.estimateRange({
          weight: w,
          rows,
          columns,
          groupSize: group,
          method: 'minmax',
          qmin: -(2 ** (c.bits - 1)),
          qmax: 2 ** (c.bits - 1) - 1,
          margin: 0,
          levels: c.qmax,
        });
        assert.equal(differences(searched.scales, golden), 0, 'scales of the search');
        assert.equal(differences(searched.zeroPoints, unrounded), 0, 'zero points of the search');
        // The way the product quantizes when it loads a model: Q − z, times the scale for groups.
        const product = formulas.quantize({
          weight: w,
          rows,
          columns,
          quantization: quantization({ bits: c.bits, groupSize: group, fractionBits: 0, symmetric: false }),
        });
        assert.equal(differences(product.scales, golden), 0, 'scales of the loaded weight');
        assert.equal(differences(product.zeroPoints, unrounded), 0, 'zero points of the loaded weight');
        if (c.tensors.q) {
          const q = Array.from(w, (x, k) => {
            const { scale, zeroPoint } = found[indices[k]!]!;
            return clamp(rint(Math.fround(x / scale)) + zeroPoint, c.qmin, c.qmax);
          });
          const integers = tensors.get(c.tensors.q).data;
          assert.equal(differences(q, integers), 0, 'integers');
          if (group <= 0) {
            const mine = product.roundToNearest.map((v, k) => v + zeroPoints[indices[k]!]!);
            assert.equal(differences(mine, integers), 0, 'integers of the product');
          }
        }
        if (c.tensors.dq) {
          const mine = product.roundToNearest.map((v, k) => (group > 0 ? v : v * golden[indices[k]!]!));
          assert.equal(differences(mine, tensors.floats(c.tensors.dq)), 0, 'dequantized weights');
        }
        return;
      }

      const method = METHODS[c.estimator];
      assert.ok(method, `estimator ${c.estimator}`);
      const found = formulas.estimateRange({
        weight: w,
        rows,
        columns,
        groupSize: group,
        method,
        qmin: c.qmin,
        qmax: c.qmax,
        margin: c.margin ?? 0,
      });
      assert.equal(found.scales.length, golden.length);
      const best = c.tensors.best ? tensors.ints(c.tensors.best) : null;
      const losses = c.tensors.loss ? tensors.floats(c.tensors.loss) : null;
      for (let i = 0; i < golden.length; i++) {
        searched++;
        if (best && found.candidates[i] !== best[i]) {
          const mine = plainLoss(w, indices, i, found.scales[i]!, c);
          const theirs = plainLoss(w, indices, i, golden[i]!, c);
          assert.ok(theirs <= mine * (1 + 1e-5), `scale ${i}: candidate ${found.candidates[i]} instead of ${best[i]}`);
          nearTies++;
          continue;
        }
        assert.equal(found.scales[i], golden[i], `scale ${i}`);
        if (losses) {
          const difference = Math.abs(found.losses[i]! - losses[i]!);
          assert.ok(difference <= 1e-4 * losses[i]!, `loss ${i}: ${found.losses[i]} instead of ${losses[i]}`);
        }
      }

      // The way the product quantizes when it loads a model; its grid is always signed and its margin 0.
      const signed = c.qmin < 0;
      const product = signed
        ? formulas.quantize({
            weight: w,
            rows,
            columns,
            quantization: quantization({ bits: c.bits, groupSize: group, fractionBits: 0, range: method }),
            ...(c.margin ? { scales: found.scales } : {}),
          })
        : null;
      if (product) assert.equal(differences(product.scales, found.scales), 0, 'scales of the loaded weight');
      if (c.tensors.q && best === null) {
        const q = Array.from(w, (x, k) => clamp(rint(Math.fround(x / golden[indices[k]!]!)), c.qmin, c.qmax));
        assert.equal(differences(q, tensors.get(c.tensors.q).data), 0, 'integers');
        if (product && group <= 0) assert.equal(differences(product.roundToNearest, q), 0, 'integers of the product');
      }
      if (c.tensors.dq && differences(found.scales, golden) === 0) {
        const dq = tensors.floats(c.tensors.dq);
        const mine = product
          ? product.roundToNearest.map((v, k) => (group > 0 ? v : v * golden[indices[k]!]!))
          : w.map((x, k) => clamp(rint(Math.fround(x / golden[indices[k]!]!)), c.qmin, c.qmax) * golden[indices[k]!]!);
        assert.equal(differences(mine, dq), 0, 'dequantized weights');
      }
    });
  }
  t.diagnostic(`${nearTies} of ${searched} candidates differ in a near tie`);
  assert.ok(nearTies <= searched * 1e-3, 'near ties are rare: 27 of 49 992 between float32 and float64');

  for (const { matrix, granularity } of index!.must_be_refused) {
    await t.test(`${matrix} ${granularity} is refused`, () => {
      const weight = tensors.get(`W.${matrix}`);
      const request = { weight: weight.data as Float32Array, ...shapeOf(weight), groupSize: groupSize(granularity) };
      const refused = { code: 'InvalidArgument', message: new RegExp(granularity.slice(1)) };
      assert.throws(
        () => formulas.estimateRange({ ...request, method: 'minmax', qmin: -8, qmax: 7, margin: 0 }),
        refused,
      );
      assert.throws(
        () => formulas.quantize({ ...request, quantization: quantization({ groupSize: request.groupSize }) }),
        refused,
      );
    });
  }
});
