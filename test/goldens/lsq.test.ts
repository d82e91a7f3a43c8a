// Layers of full quantization-aware training (the goldens' README, "lsq"), as far as they are made of what low-rank training
// computes too: with float32 storage, no low-rank term and s = s0 the forward, the mask and the gradients of the input and of
// the zero point are the same. Gradients of weights and scales differ by what LSQ does with the weight inside the rounding.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences, groupSize, openFormulas, quantization, relativeError, shapeOf, unpackCodes } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface Case {
  id: string;
  matrix: string;
  bits: number;
  granularity: string;
  symmetric: boolean;
  grad_scale: number;
  tensors: Record<'s' | 'q' | 'Y' | 'dX', string> & Partial<Record<'zf' | 'z' | 'dzf', string>>;
}

/** Relative to the largest magnitude of a tensor; the goldens' README. */
const OUTPUT = 5e-6;
const ZERO_POINT = 2e-5;

const index = readGoldenIndex<{ file: string; tokens: number; cases: Case[] }>('lsq');
test('lsq: forward, mask, dX and zero points', { skip: index ? false : 'no lsq folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('lsq', index!.file);
  const none = new Float32Array();
  for (const c of index!.cases) {
    await t.test(c.id, () => {
      const weight = tensors.get(`W.${c.matrix}`);
      const { rows, columns } = shapeOf(weight);
      const scales = tensors.floats(c.tensors.s);
      const x = tensors.floats(`X.${c.matrix}`);
      const zeroPoints = c.symmetric ? {} : { zeroPoints: tensors.floats(c.tensors.zf!) };
      const result = formulas.linear({
        weight: weight.data as Float32Array,
        rows,
        columns,
        quantization: quantization({
          bits: c.bits,
          groupSize: groupSize(c.granularity),
          storage: 'fp32',
          fractionBits: 0,
          ...(c.symmetric ? {} : { symmetric: false, learnZeroPoints: true }),
        }),
        scales,
        theta: scales,
        ...zeroPoints,
        ...(c.symmetric ? {} : { zeroTheta: tensors.floats(c.tensors.zf!) }),
        a: none,
        b: none,
        tokens: x.length / columns,
        x,
        dY: tensors.floats(`dY.${c.matrix}`),
        compute: 'float32',
        threads: 2,
      });
      // Packed codes of an asymmetric grid are the integers themselves.
      const offset = c.symmetric ? 0 : 2 ** (c.bits - 1);
      const q = unpackCodes(result.merged, c.bits, rows, columns).map((code) => code + offset);
      assert.equal(differences(q, tensors.get(c.tensors.q).data), 0, 'integers that differ');
      for (const [what, actual, name] of [
        ['Y', result.y, c.tensors.Y],
        ['Y after merging', result.yMerged, c.tensors.Y],
        ['dX', result.dX, c.tensors.dX],
      ] as const) {
        const error = relativeError(actual, tensors.floats(name));
        assert.ok(error <= OUTPUT, `${what} is off by ${String(error)}`);
      }
      if (c.tensors.dzf === undefined) return;
      const error = relativeError(
        result.dZeroPoints.map((value) => value * c.grad_scale),
        tensors.floats(c.tensors.dzf),
      );
      assert.ok(error <= ZERO_POINT, `dz is off by ${String(error)}`);
    });
  }
});
