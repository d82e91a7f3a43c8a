// Activation quantizers against the reference's, bit for bit where the goldens' README ("activations") says so.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FormulasAddon } from '../../native/binding/formulas';
import { differences, openFormulas, relativeError } from './formulas';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface Case {
  id: string;
  kind: string;
  bits: number;
  symmetric?: boolean;
  mode?: 'fixed' | 'learned' | 'learned_gs';
  qmin?: number;
  qmax?: number;
  shape?: number[];
  tensors: Record<string, string>;
}

const index = readGoldenIndex<{ file: string; cases: Case[] }>('activations');
test('activations', { skip: index ? false : 'no activations folder' }, async (t) => {
  const formulas = openFormulas();
  const tensors = new GoldenTensors('activations', index!.file);
  for (const c of index!.cases) {
    const golden = (name: string) => tensors.floats(c.tensors[name] ?? name);
    if (c.kind === 'static') {
      await t.test(c.id, () => checkStatic(formulas, c, tensors));
      continue;
    }
    await t.test(c.id, () => {
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

/** Expectations of the goldens' README: grid and codes exact, Y and dX 1e-6, ds 1e-5, dzf 5e-5. */
function checkStatic(formulas: FormulasAddon, c: Case, tensors: GoldenTensors): void {
  const golden = (name: string) => tensors.floats(c.tensors[name] ?? name);
  const x = golden('X');
  const columns = tensors.get(c.tensors['X'] ?? '').shape.at(-1) ?? 1;
  const result = formulas.staticActivations({
    batches: ['batch0', 'batch1', 'batch2'].map(golden),
    x,
    dY: golden('dY'),
    rows: x.length / columns,
    columns,
    bits: c.bits,
    symmetric: c.symmetric === true,
    gradientScaling: c.mode === 'learned_gs',
    threads: 2,
  });
  assert.deepEqual([result.lowest, result.highest], [c.qmin, c.qmax], 'codes');
  assert.ok(relativeError(result.ranges, golden('range')) < 1e-6, 'range');
  assert.ok(relativeError([result.scale], golden('s')) < 1e-6, 's');
  if (c.tensors['zf'] !== undefined) {
    assert.ok(relativeError([result.zeroPointUnrounded], golden('zf')) < 1e-6, 'zf');
    assert.equal(result.zeroPoint, tensors.get(c.tensors['z'] ?? '').data[0], 'z');
  }
  assert.ok(relativeError(result.y, golden('Y')) < 1e-6, 'Y');
  assert.ok(relativeError(result.dX, golden('dX')) < 1e-6, 'dX');
  assert.equal(differences(result.learnedDX, result.dX), 0, 'dX of the learned grid');
  if (c.tensors['ds'] !== undefined) assert.ok(relativeError([result.dScale], golden('ds')) < 1e-5, 'ds');
  if (c.tensors['dzf'] !== undefined) assert.ok(relativeError([result.dZeroPoint], golden('dzf')) < 5e-5, 'dzf');
}
