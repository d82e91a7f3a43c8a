// The downcast Φ0 = φ(W/s0) as the engine packs it, bit for bit (the goldens' README, "phi").

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Storage } from '../../native/binding/addon';
import { differences, groupSize, openFormulas, quantization, shapeOf, unpackCodes } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface Case {
  id: string;
  matrix: string;
  method: 'lr_qat_fixed_point8' | 'lr_qat_int' | 'lr_qat_bf16' | 'lr_qat_fp16';
  bits: number;
  granularity: string;
  tensors: { s0: string; code?: string; bits16?: string };
}

const STORAGES: Record<Case['method'], Storage> = {
  lr_qat_fixed_point8: 'fixed-point',
  lr_qat_int: 'integer',
  lr_qat_bf16: 'bf16',
  lr_qat_fp16: 'fp16',
};

const index = readGoldenIndex<{ file: string; cases: Case[] }>('phi');
test('phi', { skip: index ? false : 'no phi folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('phi', index!.file);
  for (const c of index!.cases) {
    await t.test(c.id, () => {
      const weight = tensors.get(`W.${c.matrix}`);
      const { rows, columns } = shapeOf(weight);
      const { phi0 } = formulas.quantize({
        weight: weight.data as Float32Array,
        rows,
        columns,
        quantization: quantization({
          bits: c.bits,
          groupSize: groupSize(c.granularity),
          storage: STORAGES[c.method],
          fractionBits: 8 - c.bits,
        }),
        scales: tensors.floats(c.tensors.s0),
      });
      if (c.tensors.bits16) {
        const expected = tensors.get(c.tensors.bits16).data as Int16Array;
        const actual = new Int16Array(phi0.buffer, phi0.byteOffset, phi0.byteLength / 2);
        assert.equal(differences(actual, expected), 0, 'bit patterns that differ');
        return;
      }
      const width = c.method === 'lr_qat_int' ? c.bits : 8;
      const codes = unpackCodes(phi0, width, rows, columns);
      assert.equal(differences(codes, tensors.get(c.tensors.code!).data), 0, 'codes that differ');
    });
  }
});
