// Values as people read and type them.
import { spaced } from '../../src/experiment/spaced';

/** A value on one line of a control or a sentence. */
export function shownValue(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === null) return 'null';
  if (value === undefined) return '';
  if (typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  return spaced(value);
}

/** A number as people type it; null: it is none. */
export function numberOf(typed: string, integer: boolean): number | null {
  const plain = typed
    .trim()
    .replaceAll(/[ _  ]/g, '')
    .replace(/^(-?\d+),(\d+)$/, '$1.$2');
  if (!/^[+-]?(\d+([.]\d*)?|[.]\d+)(e[+-]?\d+)?$/i.test(plain)) return null;
  const value = Number(plain);
  return Number.isFinite(value) && (!integer || Number.isSafeInteger(value)) ? value : null;
}
