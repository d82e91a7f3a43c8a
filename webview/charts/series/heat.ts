// layers.jsonl as a grid: one row a linear, one column a step at which the layers were measured.
import type { PanelState } from '../protocol';
import type { RunData } from './run-data';

export type HeatQuantity = PanelState['heat'];

export interface HeatGrid {
  /** Full names of the linears, in the model's order. */
  readonly names: readonly string[];
  /** Steps at which layers were measured, ascending. */
  readonly steps: Float64Array;
  /** (names × steps), a row after the other; NaN: not measured. */
  readonly values: Float64Array;
  /** Greatest value; 0 where there is none. */
  readonly most: number;
}

export function heatGrid(data: RunData, quantity: HeatQuantity): HeatGrid {
  const step = data.layers.column('step');
  const layer = data.layers.column('layer');
  const value = data.layers.column(quantity);
  const steps = Float64Array.from(new Set(step)).sort();
  const columnOf = new Map(Array.from(steps, (each, at) => [each, at]));
  const values = new Float64Array(data.layerNames.length * steps.length).fill(NaN);
  let most = 0;
  for (let row = 0; row < step.length; row++) {
    const now = value[row] ?? NaN;
    // A measurement that was repeated stands later in the file and replaces the earlier one.
    values[(layer[row] ?? 0) * steps.length + (columnOf.get(step[row] ?? NaN) ?? 0)] = now;
  }
  for (const each of values) if (each > most) most = each;
  return { names: data.layerNames, steps, values, most };
}

/** `model.layers.11.self_attn.q_proj` → its block and its name in the block. */
export function shortName(name: string): { readonly block: string | null; readonly linear: string } {
  const match = /(?:^|\.)layers\.(\d+)\.(?:.*\.)?([^.]+)$/.exec(name);
  return match === null
    ? { block: null, linear: name.split('.').at(-1) ?? name }
    : { block: match[1] ?? null, linear: match[2] ?? name };
}
