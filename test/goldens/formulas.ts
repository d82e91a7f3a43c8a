// What the tests of single formulas share: the functions of the addon, the plain reading of packed codes, comparison.

import assert from 'node:assert/strict';
import type { LinearQuantization } from '../../native/binding/addon';
import type { FormulasAddon } from '../../native/binding/formulas';
import { openAddon } from './engine-runs';
import type { GoldenTensor } from './golden-files';

export function openFormulas(): FormulasAddon {
  return (openAddon() as unknown as { formulas: FormulasAddon }).formulas;
}

/** `tensor`, `channel` or `g<size>` of the goldens → groupSize of the product. */
export function groupSize(granularity: string): number {
  if (granularity === 'tensor') return 0;
  return granularity === 'channel' ? -1 : Number(granularity.slice(1));
}

/** Settings of a linear whose other settings do not matter to the formula under test. */
export function quantization(settings: Partial<LinearQuantization>): LinearQuantization {
  return {
    bits: 4,
    groupSize: -1,
    storage: 'fixed-point',
    fractionBits: 8 - (settings.bits ?? 4),
    encoding: 'reference',
    range: 'minmax',
    scaleDomain: 'linear',
    learnScales: true,
    rank: 0,
    alpha: 1,
    ...settings,
  };
}

/** Rows of packed offset codes, read bit by bit: little-endian stream along the row, rows padded to groups of 32 codes. */
export function unpackCodes(packed: Uint8Array, bits: number, rows: number, columns: number): Int32Array {
  const rowBytes = Math.ceil(columns / 32) * 4 * bits;
  assert.equal(packed.length, rows * rowBytes, 'bytes of the packed rows');
  const values = new Int32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let code = 0;
      for (let k = 0; k < bits; k++) {
        const bit = j * bits + k;
        code |= ((packed[i * rowBytes + (bit >> 3)]! >> (bit & 7)) & 1) << k;
      }
      values[i * columns + j] = code - (1 << (bits - 1));
    }
  }
  return values;
}

export function shapeOf(tensor: GoldenTensor): { rows: number; columns: number } {
  const [rows, columns] = tensor.shape;
  assert.ok(rows !== undefined && columns !== undefined);
  return { rows, columns };
}

/** Number of positions at which two arrays differ. */
export function differences(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  let count = 0;
  for (let i = 0; i < expected.length; i++) if (actual[i] !== expected[i]) count++;
  return count;
}

/** Largest difference relative to the largest magnitude of `expected`. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  let difference = 0;
  let magnitude = 0;
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i]! - expected[i]!);
    if (!(d <= difference)) difference = d;
    magnitude = Math.max(magnitude, Math.abs(expected[i]!));
  }
  return magnitude > 0 ? difference / magnitude : difference;
}
