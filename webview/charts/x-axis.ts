// The three x axes: step, tokens, working time.
import { reading, tickLabel, type Quantity } from '../shared/format';
import type { PlotAxis } from '../shared/plot';
import type { Axis } from '../shared/series/axis';
import { after } from '../shared/series/thin';
import { ticks, type TickUnit } from '../shared/series/ticks';
import type { ShownRun } from './picture';
import type { XAxis } from './protocol';
import { positionOf } from './series/run-data';
import { text } from './strings';

const KINDS: Readonly<Record<XAxis, { readonly quantity: Quantity; readonly unit: TickUnit }>> = {
  step: { quantity: 'step', unit: 'integer' },
  tokens: { quantity: 'tokens', unit: 'integer' },
  time: { quantity: 'time', unit: 'time' },
};

/** Pixels that a label takes. */
const LABEL_WIDTH = 90;

export function xPlotAxis(kind: XAxis, axis: Axis, width: number): PlotAxis {
  const { quantity, unit } = KINDS[kind];
  return {
    axis,
    ticks: ticks(axis, Math.max(2, Math.floor(width / LABEL_WIDTH)), unit),
    label: (value) => tickLabel(value, quantity),
    grid: false,
  };
}

/** `step 120 · 245 k tokens · 22 s`, the axis' own first. */
export function placeHeading(place: {
  readonly step: number;
  readonly tokens: number;
  readonly elapsed: number;
}): string {
  return [
    text.atStep(reading(place.step, 'step')),
    text.tokenCount(reading(place.tokens, 'tokens')),
    reading(place.elapsed, 'time'),
  ].join(' · ');
}

/** Extent of x over all runs, and the least x above zero. */
export function extentOfX(
  runs: readonly ShownRun[],
  axis: XAxis,
): { readonly max: number; readonly least: number } | null {
  let max = -Infinity;
  let least = Infinity;
  for (const { data } of runs) {
    const x = data.x(axis);
    const steps = data.layers.column('step');
    const last = steps.at(-1);
    max = Math.max(max, x.at(-1) ?? -Infinity, last === undefined ? -Infinity : data.xOfStep(last, axis));
    for (const each of data.evaluations) max = Math.max(max, positionOf(each, axis));
    const first = x[after(x, 0)];
    if (first !== undefined && first < least) least = first;
  }
  return max === -Infinity ? null : { max, least: least === Infinity ? 0 : least };
}
