// Where an axis gets its marks.
import type { Axis } from './axis';

/** Units in which people count: decimal, or hours and minutes (values in milliseconds). */
export type TickUnit = 'decimal' | 'integer' | 'time' | 'bytes';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIME_STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7].map((n) => n * DAY),
];

/** At most `most` + 1 values within the axis, ascending. */
export function ticks(axis: Axis, most: number, unit: TickUnit): number[] {
  if (!(axis.max > axis.min) || most < 1) return [];
  if (axis.kind === 'log') {
    const logarithmic = logTicks(axis, most);
    // Less than a decade: marks at powers of ten would be one or none.
    if (logarithmic.length >= 3 || axis.max / axis.min > 100) return logarithmic;
  }
  return linearTicks(axis, stepOf((axis.max - axis.min) / most, unit));
}

function linearTicks({ min, max }: Axis, step: number): number[] {
  const first = Math.ceil(min / step - 1e-9);
  const last = Math.floor(max / step + 1e-9);
  // Multiplied, not added up, so that no mark drifts; −0 is 0.
  return Array.from({ length: last - first + 1 }, (_, at) => roundTo((first + at) * step, step) + 0);
}

/** 0.30000000000000004 → 0.3 */
function roundTo(value: number, step: number): number {
  const digits = Math.max(0, Math.min(20, 3 - Math.floor(Math.log10(step))));
  return digits > 0 ? Number(value.toFixed(digits)) : value;
}

/** The least step of 1, 2, 5 · 10ⁿ (or of the clock, or of powers of two) that is not below `atLeast`. */
function stepOf(atLeast: number, unit: TickUnit): number {
  if (unit === 'time') {
    const step = TIME_STEPS.find((each) => each >= atLeast);
    return step ?? decimalStep(atLeast / DAY) * DAY;
  }
  if (unit === 'bytes') {
    // 1, 2, 5, 10, … 500 of the unit that fits (KiB, MiB, …), so that labels are round numbers.
    const base = 1024 ** Math.max(0, Math.floor(Math.log(atLeast) / Math.log(1024)));
    const step = decimalStep(atLeast / base);
    return step >= 1000 ? base * 1024 : step * base;
  }
  const step = decimalStep(atLeast);
  return unit === 'integer' ? Math.max(1, step) : step;
}

function decimalStep(atLeast: number): number {
  const power = 10 ** Math.floor(Math.log10(atLeast) + 1e-9);
  const factor = [1, 2, 5].find((each) => each * power >= atLeast * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** Powers of ten; with room also twice and five times these; with many decades every second, third, … of them. */
function logTicks({ min, max }: Axis, most: number): number[] {
  const first = Math.floor(Math.log10(min) + 1e-9);
  const last = Math.ceil(Math.log10(max) - 1e-9);
  const decades = last - first + 1;
  const factors = Math.log10(max / min) * 3 <= most + 2 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / Math.max(1, most)));
  const found: number[] = [];
  for (let power = Math.ceil(first / every) * every; power <= last; power += every) {
    for (const factor of factors) {
      const value = Number(`${String(factor)}e${String(power)}`);
      if (value >= min * (1 - 1e-9) && value <= max * (1 + 1e-9)) found.push(value);
    }
  }
  return found;
}
