// From values to pixels, and where an axis has its marks.

export interface Scale {
  readonly log: boolean;
  readonly min: number;
  readonly max: number;
  /** Pixel of a value. */
  readonly at: (value: number) => number;
  readonly marks: readonly number[];
}

/** A scale over all values with some air, from pixel `from` to pixel `to`.
 *  @param values at least one; above 0 where `log` is set
 *  @param most marks at most, about
 *  @param unit marks are round numbers of it */
export function scaleOf(
  values: readonly number[],
  log: boolean,
  from: number,
  to: number,
  most: number,
  unit = 1,
): Scale {
  const [least, greatest] = [Math.min(...values), Math.max(...values)];
  const { min, max } = log ? logEnds(least, greatest) : linearEnds(least, greatest);
  const share = log
    ? (value: number) => Math.log(value / min) / Math.log(max / min)
    : (value: number) => (value - min) / (max - min);
  return {
    log,
    min,
    max,
    at: (value) => from + share(value) * (to - from),
    marks: (log ? logMarks : linearMarks)(min / unit, max / unit, most).map((mark) => mark * unit),
  };
}

/** Whether values are spread so far that a logarithmic scale tells more. */
export function isWide(values: readonly number[]): boolean {
  const positive = values.filter((value) => value > 0);
  return positive.length === values.length && values.length > 1 && Math.max(...values) > 4 * Math.min(...values);
}

const AIR = 0.06;

function linearEnds(least: number, greatest: number): { min: number; max: number } {
  const extent = greatest - least;
  const air = extent > Math.abs(greatest) * 1e-9 ? extent * AIR : Math.abs(greatest) * 0.1 || 0.5;
  return { min: least - air, max: greatest + air };
}

function logEnds(least: number, greatest: number): { min: number; max: number } {
  const factor = greatest > least ? (greatest / least) ** AIR : 1.1;
  return { min: least / factor, max: greatest * factor };
}

function linearMarks(min: number, max: number, most: number): number[] {
  const rough = (max - min) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * (1 - 1e-9)) ?? 10);
  const first = Math.ceil(min / step - 1e-9);
  const count = Math.floor(max / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Powers of ten with their doubles and fives where there is room; on less than a decade linear marks say more. */
function logMarks(min: number, max: number, most: number): number[] {
  const found: number[] = [];
  const decades = Math.log10(max / min);
  const factors = decades * 3 <= most ? [1, 2, 3, 4, 5, 6, 8] : decades * 2 <= most * 1.5 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    for (const factor of factors) {
      const value = Number(`${String(factor)}e${String(power)}`);
      if (value >= min && value <= max) found.push(value);
    }
  }
  return found.length >= 3 ? found : linearMarks(min, max, most);
}
