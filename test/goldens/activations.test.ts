// Activation quantizers against the reference's, bit for bit where the goldens' README ("activations") says so.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differences, openFormulas, relativeError } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface Case {
  id: string;
  kind: string;
  bits: number;
  shape?: number[];
  tensors: Record<string, string>;
}

const index = readGoldenIndex<{ file: string; cases: Case[] }>('activations');
test('activations', { skip: index ? false : 'no activations folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('activations', index!.file);
  for (const c of index!.cases) {
    const isDynamic = c.kind.startsWith('dynamic');
    await t.test(c.id, { skip: isDynamic ? false : 'not yet: static ranges' }, () => {
      const golden = (name: string) => tensors.floats(c.tensors[name] ?? name);
      const width = c.shape?.at(-1) ?? 0;
      const x = golden('X');
      const quantize = (columns: number) =>
        formulas.quantizeActivations({
          x,
          dY: golden('dY'),
          rows: x.length / columns,
          columns,
          width,
          bits: c.bits,
          zeroPoint: 'reference',
          threads: 2,
        });
      // Once with a grid a row, once with grids side by side, as heads lie.
      const heads = c.shape?.length === 4 ? 4 : 2;
      for (const columns of [width, heads * width]) {
        const { y, dX, mask } = quantize(columns);
        assert.equal(differences(mask, tensors.get(c.tensors['mask'] ?? '').data), 0, 'mask');
        assert.equal(differences(y, golden('Y')), 0, 'Y');
        // The reference multiplies by δ and divides by it again.
        assert.ok(relativeError(dX, golden('dX')) < 1e-6, 'dX');
      }
    });
  }
});
