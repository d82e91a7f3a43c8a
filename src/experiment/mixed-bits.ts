// Mixed bits from a sensitivity measurement: which linear gets how many bits, so that the expected loss is least within a budget.
//
// The losses of linears that are rounded one at a time are taken to add up. They do so only roughly; whoever uses the
// result measures the mixture itself.

import { applyTextEdits, ExperimentDocument } from './document';
import { matchesGlob, overridesFor } from './linears';
import type { EngineLayout } from './engine-layout';
import { quantizedLinears, SCALE_BITS, scaleCount, ZERO_POINT_BITS, zeroPointCount } from './quantized-linears';
import type { TextEdit } from './problem';
import type { Experiment, LayerOverride } from './schema';
import { spaced } from './spaced';

export interface LinearSize {
  readonly name: string;
  /** Weights of the linear. */
  readonly weights: number;
  /** Bits of its scales and zero points, the same at every bit-width. */
  readonly scaleBits: number;
}

/** Of the linears that are quantized, in model order. */
export function linearSizes(layout: Pick<EngineLayout, 'shape' | 'linears'>): LinearSize[] {
  return quantizedLinears(layout).map((linear) => ({
    name: linear.name,
    weights: linear.outputs * linear.inputs,
    scaleBits: scaleCount(linear) * SCALE_BITS + zeroPointCount(linear) * ZERO_POINT_BITS,
  }));
}

/** Bits a weight of all these linears with so many bits each, scales included. */
export function uniformBitsPerWeight(sizes: readonly LinearSize[], bits: number): number {
  const weights = sizes.reduce((sum, size) => sum + size.weights, 0);
  return bits + sizes.reduce((sum, size) => sum + size.scaleBits, 0) / weights;
}

/** What one linear loses at each bit-width that was measured. */
export interface LinearOptions extends LinearSize {
  /** Nats a token above the float model by bit-width, when this linear alone is rounded. */
  readonly losses: ReadonlyMap<number, number>;
}

export interface BitChoice {
  /** By linear. */
  readonly bits: ReadonlyMap<string, number>;
  /** Of all these linears together, scales included. */
  readonly bitsPerWeight: number;
  /** Sum of the losses of the chosen widths, nats a token. */
  readonly expectedLoss: number;
}

/**
 * Chooses a bit-width for each linear so that the sum of losses is small while the average is at most `budget` bits a weight,
 * scales included. Steps are taken from the cheapest width upwards, always the one that saves most loss a bit, among the
 * widths that no straight line between others beats (the lower convex hull). No step that is left fits, and the sum is
 * above the least possible by less than what one step saves.
 * @returns null when even the narrowest widths need more
 */
export function chooseBits(linears: readonly LinearOptions[], budget: number): BitChoice | null {
  const total = linears.reduce((sum, { weights }) => sum + weights, 0);
  const scaleBits = linears.reduce((sum, linear) => sum + linear.scaleBits, 0);
  const chosen = linears.map((linear) => ({ linear, hull: hullOf(linear.losses), at: 0 }));
  let spent = scaleBits + chosen.reduce((sum, { linear, hull }) => sum + linear.weights * (hull[0]?.bits ?? 0), 0);
  // A rounding error must not cost the last step of a budget that is met exactly.
  const limit = budget * total * (1 + 1e-9);
  if (total === 0 || spent > limit) return null;
  const steps = chosen
    .flatMap((choice) =>
      choice.hull.slice(1).map((point, index) => {
        const before = choice.hull[index] ?? point;
        const cost = choice.linear.weights * (point.bits - before.bits);
        return { choice, to: index + 1, cost, gain: (before.loss - point.loss) / cost };
      }),
    )
    .sort((a, b) => b.gain - a.gain);
  // Along a convex hull each gain is smaller than the one before: the steps of a linear come in their order.
  for (const { choice, to, cost } of steps) {
    if (choice.at !== to - 1 || spent + cost > limit) continue;
    choice.at = to;
    spent += cost;
  }
  return {
    bits: new Map(chosen.map(({ linear, hull, at }) => [linear.name, hull[at]?.bits ?? 0])),
    bitsPerWeight: spent / total,
    expectedLoss: chosen.reduce((sum, { hull, at }) => sum + (hull[at]?.loss ?? 0), 0),
  };
}

interface Point {
  readonly bits: number;
  readonly loss: number;
}

/** The lower convex hull of a linear's losses over bits, from the narrowest width to the one with the least loss. */
function hullOf(losses: ReadonlyMap<number, number>): Point[] {
  const points = [...losses].map(([bits, loss]) => ({ bits, loss })).sort((a, b) => a.bits - b.bits);
  const hull: Point[] = [];
  for (const point of points) {
    const last = hull.at(-1);
    // More bits that lose as much or more (noise of the measurement) are worth nothing.
    if (last !== undefined && point.loss >= last.loss) continue;
    while (hull.length > 1 && isAbove(hull.at(-2), hull.at(-1), point)) hull.pop();
    hull.push(point);
  }
  return hull;
}

/** `middle` lies on or above the line from `left` to `right`. */
function isAbove(left: Point | undefined, middle: Point | undefined, right: Point): boolean {
  if (left === undefined || middle === undefined) return false;
  return (middle.loss - left.loss) * (right.bits - left.bits) >= (right.loss - left.loss) * (middle.bits - left.bits);
}

/** Settings that give every linear its bits: what `quantization.weights.bits` becomes, and entries to append to
 *  `quantization.layers`. */
export interface BitSettings {
  readonly bits: number;
  readonly layers: readonly LayerOverride[];
}

/** @param bits by full name, of every linear that the experiment quantizes */
export function bitSettings(experiment: Experiment, bits: ReadonlyMap<string, number>): BitSettings {
  const common = mostFrequent([...bits.values()]);
  const { layers } = experiment.quantization;
  const wrong = [...bits].filter(([name, wanted]) => (overridesFor(layers, name).bits ?? common) !== wanted);
  const missing = new Map(wrong);
  const entries: LayerOverride[] = [];
  const patterns = new Set([...missing.keys()].flatMap((name) => [kindPattern(name), blockPattern(name)]));
  for (const match of [...patterns, ...missing.keys()]) {
    const { matches, wanted } = linearsOf(match, bits);
    // One entry for many, where all that it would reach want the same and at least two of them need it.
    const needed = matches.filter((name) => missing.has(name));
    if (wanted === null || needed.length === 0 || (match.includes('*') && needed.length < 2)) continue;
    entries.push({ match, bits: wanted });
    for (const name of needed) missing.delete(name);
  }
  return { bits: common, layers: entries };
}

const BITS = ['quantization', 'weights', 'bits'];
const LAYERS = ['quantization', 'layers'];

/** The text of an experiment with these settings; everything else, comments too, stays. A new list has an entry a line. */
export function withBitSettings(text: string, { bits, layers }: BitSettings): string {
  let document = new ExperimentDocument(text, '');
  const edit = (edits: readonly TextEdit[]): void => {
    document = new ExperimentDocument(applyTextEdits(document.text, edits), '');
  };
  edit(document.setValue(BITS, bits));
  const before = document.node(LAYERS);
  if (before?.type === 'array' && (before.children ?? []).length > 0) {
    for (const layer of layers) edit(document.appendTo(LAYERS, layer));
  } else if (layers.length > 0) {
    edit(document.setValue(LAYERS, []));
    const list = document.node(LAYERS);
    if (list === undefined) throw new Error('quantization.layers was set');
    const line = document.text.slice(document.text.lastIndexOf('\n', list.offset) + 1, list.offset);
    const indent = /^[ \t]*/.exec(line)?.[0] ?? '';
    const unit = indent.includes('\t') ? '\t' : '  ';
    const eol = document.text.includes('\r\n') ? '\r\n' : '\n';
    const lines = layers.map((layer) => `${indent}${unit}${spaced(layer)}`);
    edit([{ offset: list.offset, length: list.length, text: `[${eol}${lines.join(`,${eol}`)}${eol}${indent}]` }]);
  }
  return document.text;
}

function linearsOf(match: string, bits: ReadonlyMap<string, number>): { matches: string[]; wanted: number | null } {
  const matches = [...bits.keys()].filter((name) => matchesGlob(match, name));
  const widths = new Set(matches.map((name) => bits.get(name)));
  const [wanted] = widths;
  return { matches, wanted: widths.size === 1 ? (wanted ?? null) : null };
}

/** `*.mlp.down_proj` */
const kindPattern = (name: string): string => `*.${name.split('.').slice(-2).join('.')}`;
/** `model.layers.3.*` */
const blockPattern = (name: string): string => `${name.split('.').slice(0, -2).join('.')}.*`;

function mostFrequent(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const sorted = [...counts].sort(([a, countA], [b, countB]) => countB - countA || a - b);
  return sorted[0]?.[0] ?? 0;
}
