// One quantized linear forward and backward against the official modules (the goldens' README, "linear"): Q and mask exact,
// the rest within 5e-6 of each tensor's largest magnitude in float32, within the README's wider bounds with bf16 operands.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ComputeType, Storage } from '../../native/binding/addon';
import type { LinearRequest, LinearResult } from '../../native/binding/formulas';
import { differences, groupSize, openFormulas, quantization, relativeError, shapeOf, unpackCodes } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';
import { naiveLinear } from './naive-linear';

interface Case {
  id: string;
  matrix: string;
  method: string;
  bits: number;
  granularity: string;
  r: number;
  alpha: number;
  gamma: number;
  scale_domain: 'linear' | 'log';
  tensors: Record<'s0' | 's' | 'phi0' | 'Y' | 'dX' | 'ds', string> &
    Partial<Record<'A' | 'B' | 'Q' | 'mask' | 'Ymerged' | 'dA' | 'dB', string>>;
}

const STORAGES: Record<string, Storage> = {
  lr_qat_fixed_point8: 'fixed-point',
  lr_qat_int: 'integer',
  lr_qat_fp32: 'fp32',
  lr_qat_bf16: 'bf16',
  lr_qat_fp16: 'fp16',
  peqa: 'integer',
  naive: 'integer',
};

/** Accepted error relative to the largest magnitude of the tensor. */
const ACCEPTED: Record<ComputeType, { output: number; gradient: number }> = {
  float32: { output: 5e-6, gradient: 5e-6 },
  bf16: { output: 1e-2, gradient: 2e-2 },
};

const index = readGoldenIndex<{ file: string; tokens: number; cases: Case[] }>('linear');
test('linear', { skip: index ? false : 'no linear folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('linear', index!.file);
  const none = new Float32Array();

  for (const c of index!.cases) {
    for (const compute of c.method === 'naive' ? (['float32'] as const) : (['float32', 'bf16'] as const)) {
      await t.test(`${c.id} ${compute}`, () => {
        const weight = tensors.get(`W.${c.matrix}`);
        const { rows, columns } = shapeOf(weight);
        const s = tensors.floats(c.tensors.s);
        const a = c.tensors.A ? tensors.floats(c.tensors.A) : none;
        const b = c.tensors.B ? tensors.floats(c.tensors.B) : none;
        const { output, gradient } = ACCEPTED[compute];
        const close = (actual: Float32Array, name: string | undefined, accepted: number, what: string): void => {
          if (name === undefined) return;
          const error = relativeError(actual, tensors.floats(name));
          assert.ok(error <= accepted, `${what} is off by ${error}, accepted ${accepted}`);
        };
        const compareGradients = (result: Pick<LinearResult, 'y' | 'dX' | 'dA' | 'dB' | 'dTheta'>): void => {
          close(result.y, c.tensors.Y, output, 'Y');
          close(result.dX, c.tensors.dX, output, 'dX');
          close(result.dA, c.tensors.dA, gradient, 'dA');
          close(result.dB, c.tensors.dB, gradient, 'dB');
          close(result.dTheta, c.tensors.ds, gradient, 'ds');
        };
        const storage = STORAGES[c.method];
        assert.ok(storage, `method ${c.method}`);
        const request: LinearRequest = {
          weight: weight.data as Float32Array,
          rows,
          columns,
          quantization: quantization({
            bits: c.bits,
            groupSize: groupSize(c.granularity),
            storage,
            fractionBits: 8 - c.bits,
            scaleDomain: c.scale_domain,
            rank: c.r,
            alpha: c.alpha,
          }),
          scales: tensors.floats(c.tensors.s0),
          theta: c.scale_domain === 'log' ? s.map(Math.log) : s,
          a,
          b,
          tokens: index!.tokens,
          x: tensors.floats(`X.${c.matrix}`),
          dY: tensors.floats(`dY.${c.matrix}`),
          compute,
          threads: 2,
        };
        if (c.method === 'naive') {
          assert.equal(c.granularity, 'channel');
          const plain = { ...request, scales: s, quantization: { ...request.quantization, rank: 0 }, a: none, b: none };
          compareGradients(naiveLinear(formulas, plain, { a, b, rank: c.r, gamma: c.gamma }));
          return;
        }

        const result = formulas.linear(request);
        const q = unpackCodes(result.merged, c.bits, rows, columns);
        if (c.tensors.Q) assert.equal(differences(q, tensors.get(c.tensors.Q).data), 0, 'integers that differ');
        const mask = c.tensors.mask ? tensors.get(c.tensors.mask).data : new Uint8Array(rows * columns).fill(1);
        assert.equal(differences(result.mask, mask), 0, 'mask entries that differ');
        compareGradients(result);
        close(result.yMerged, c.tensors.Ymerged, output, 'Y after merging');
        assert.equal(differences(result.yMerged, result.y), 0, 'the merged output is the trained one, to the bit');
      });
    }
  }
});
