// How runs are told apart. Colour alone would not do: some people see fewer colours, some themes have few, and there may be more
// runs than colours. Every run therefore also has a dash and a marker, and the three cycles have no common divisor, so that the
// first 630 runs all look different and neighbours differ in colour and marker.

/** Names of the theme's chart colours, ordered so that neighbours differ for all kinds of colour vision (blue and orange first,
 *  red and green apart). */
export const CHART_COLOURS = ['blue', 'orange', 'purple', 'green', 'yellow', 'red'] as const;
export type ChartColour = (typeof CHART_COLOURS)[number];

export const MARKERS = ['circle', 'triangle', 'square', 'cross', 'diamond', 'plus', 'triangleDown'] as const;
export type Marker = (typeof MARKERS)[number];

/** Lengths of strokes and gaps in pixels. */
export const DASHES: readonly (readonly number[])[] = [[], [7, 3], [2, 3], [9, 3, 2, 3], [14, 4]];

/** The theme's colour itself, mixed with the text's, mixed with the background's. */
export const SHADES = ['plain', 'strong', 'soft'] as const;
export type Shade = (typeof SHADES)[number];

export interface RunStyle {
  readonly colour: ChartColour;
  readonly shade: Shade;
  readonly dash: readonly number[];
  readonly marker: Marker;
}

/** @param index of the run in the panel, 0 or more. */
export function runStyle(index: number): RunStyle {
  const round = Math.floor(index / CHART_COLOURS.length);
  return {
    colour: at(CHART_COLOURS, index),
    shade: at(SHADES, round),
    dash: at(DASHES, round),
    marker: at(MARKERS, index),
  };
}

function at<Item>(items: readonly [Item, ...Item[]] | readonly Item[], index: number): Item {
  const item = items[index % items.length];
  if (item === undefined) throw new RangeError('empty cycle');
  return item;
}
