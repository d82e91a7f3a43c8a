// Layers of full quantization-aware training (the goldens' README, "lsq"): forward, mask, and the gradients of the input, the
// weight, the scales and the zero points.

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
  grad_scaling: boolean;
  scale_domain: 'linear' | 'log';
  tensors: Record<'s' | 'q' | 'Y' | 'dX' | 'dW' | 'ds', string> & Partial<Record<'zf' | 'z' | 'dzf', string>>;
}

/** Relative to the largest magnitude of a tensor; the goldens' README. */
const OUTPUT = 5e-6;
const SCALE = 1e-5;
const ZERO_POINT = 2e-5;

const index = readGoldenIndex<{ file: string; tokens: number; cases: Case[] }>('lsq');
test('lsq', { skip: index ? false : 'no lsq folder' }, async (t) => {
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
          storage: 'trained',
          fractionBits: 0,
          scaleDomain: c.scale_domain,
          gradientScaling: c.grad_scaling,
          ...(c.symmetric ? {} : { symmetric: false, learnZeroPoints: true }),
        }),
        scales,
        theta: c.scale_domain === 'log' ? scales.map(Math.log) : scales,
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
      for (const [what, actual, name, tolerance] of [
        ['Y', result.y, c.tensors.Y, OUTPUT],
        ['Y after merging', result.yMerged, c.tensors.Y, OUTPUT],
        ['dX', result.dX, c.tensors.dX, OUTPUT],
        ['dW', result.dW, c.tensors.dW, OUTPUT],
        ['ds', result.dTheta, c.tensors.ds, SCALE],
        ['dz', result.dZeroPoints, c.tensors.dzf, ZERO_POINT],
      ] as const) {
        if (name === undefined) continue;
        const error = relativeError(actual, tensors.floats(name));
        assert.ok(error <= tolerance, `${what} is off by ${String(error)}`);
      }
    });
  }
});
