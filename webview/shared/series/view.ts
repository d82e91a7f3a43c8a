// Which part of the x axis is shown: all, a zoomed range, or a range that follows the newest point.
import { fractionOf, roomyAxis, valueAt, within, type Axis, type Range } from './axis';

export interface XView {
  readonly log: boolean;
  /** null: all. */
  readonly zoom: Range | null;
  /** Keep the newest point at the right end while the zoomed range keeps its length. */
  readonly follow: boolean;
}

/** The whole axis: from 0 (linear) or the least positive x (logarithmic) to the newest point.
 *  @param data extent of x over all runs, null where there is none. `least`: the least x above zero. */
export function fullAxis(data: { readonly max: number; readonly least: number } | null, log: boolean): Axis {
  if (data === null || !(data.max > 0))
    return log ? { kind: 'log', min: 1, max: 10 } : { kind: 'linear', min: 0, max: 1 };
  if (!log) return { kind: 'linear', min: 0, max: data.max };
  const min = data.least > 0 ? data.least : data.max / 10;
  return min < data.max ? { kind: 'log', min, max: data.max } : roomyAxis('log', { min, max: data.max });
}

/** The axis to draw, and the zoom to remember: null again once it covers everything. */
export function shownAxis(full: Axis, { zoom, follow }: XView): { readonly axis: Axis; readonly zoom: Range | null } {
  if (zoom === null || !(zoom.max > zoom.min) || (full.kind === 'log' && !(zoom.min > 0))) {
    return { axis: full, zoom: null };
  }
  let axis: Axis = { kind: full.kind, min: zoom.min, max: zoom.max };
  if (follow && zoom.max < full.max) {
    const shift = fractionOf(axis, full.max) - 1;
    axis = { ...axis, min: valueAt(axis, shift), max: full.max };
  }
  axis = within(axis, full);
  const all = axis.min <= full.min && axis.max >= full.max;
  return { axis, zoom: all ? null : { min: axis.min, max: axis.max } };
}

/** A view whose right end is the newest point follows it; one that was moved away from it does not. */
export function followsAfter(full: Axis, shown: Range): boolean {
  return fractionOf(full, shown.max) >= 1 - 1e-6;
}
