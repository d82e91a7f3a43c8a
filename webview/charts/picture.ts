// What a chart is to the card that shows it: from runs and options to something that draws itself, answers what lies at an x,
// and can be read as a table.
import type { Axis, Range } from '../shared/series/axis';
import type { Marker, RunStyle } from '../shared/series/run-style';
import type { Rgb } from '../shared/colour';
import type { PlotArea, PlotAxis } from '../shared/plot';
import type { Theme } from '../shared/theme';
import type { PanelState, RunInfo, XAxis } from './protocol';
import type { RunData } from './series/run-data';

export interface ShownRun {
  readonly info: RunInfo;
  readonly data: RunData;
  readonly style: RunStyle;
  readonly colour: Rgb;
}

/** The same for all charts of a frame. */
/** A run of a method that only rounds, at its end: no step will come. */
export function hasNoSteps({ state, totalSteps }: RunInfo): boolean {
  return state === 'finished' && totalSteps === 0;
}

export interface Scene {
  /** Runs that are switched on. */
  readonly runs: readonly ShownRun[];
  /** The run that is meant by what there is once: heat map, reference lines, marks, newest value. The one that is pointed at, else
   *  the one of the header, also when it is switched off. */
  readonly focus: ShownRun | null;
  /** Of several runs, the one that is pointed at: the others step back. */
  readonly pointed: ShownRun | null;
  readonly x: XAxis;
  /** The part of x that is shown. */
  readonly axis: Axis;
  readonly smoothing: number;
  readonly kind: string | null;
  readonly heat: PanelState['heat'];
  readonly theme: Theme;
  /** More than one run: dashes and markers tell them apart, and labels name them. */
  readonly several: boolean;
}

export interface CardOptions {
  readonly logY: boolean;
  /** Zoomed range of y; null: what fits the data. */
  readonly y: Range | null;
  /** Pixels of the data's rectangle. */
  readonly width: number;
  readonly height: number;
}

/** The sign of a series in legends and tool tips. */
export interface Sign {
  readonly colour: Rgb;
  readonly alpha: number;
  readonly dash: readonly number[];
  readonly marker: Marker | null;
}

export interface LegendEntry {
  readonly sign: Sign;
  readonly label: string;
}

export interface ColourScale {
  readonly low: string;
  readonly high: string;
  /** @param share 0 to 1 */
  readonly colour: (share: number) => Rgb;
}

export interface ReadoutRow {
  /** Whose value it is; null: of none or of all. */
  readonly run: ShownRun | null;
  readonly sign: Sign | null;
  readonly label: string;
  readonly value: string;
  /** Where the cursor's dot goes; null: none. */
  readonly at: { readonly x: number; readonly y: number } | null;
}

export interface Readout {
  /** The x that is read, and what else is known of that place. */
  readonly x: number;
  readonly heading: string;
  readonly rows: readonly ReadoutRow[];
}

export interface TableData {
  readonly columns: readonly { readonly label: string; readonly numeric: boolean }[];
  readonly rows: readonly (readonly string[])[];
  /** Rows in view, of which `rows` may be a part. */
  readonly total: number;
}

export interface Picture {
  readonly y: PlotAxis;
  readonly draw: (context: CanvasRenderingContext2D, area: PlotArea) => void;
  readonly legend: readonly LegendEntry[];
  /** What the colours of a heat map stand for; null: colours name runs. */
  readonly scale: ColourScale | null;
  /** What must be said beside the picture. */
  readonly notes: readonly string[];
  /** In place of a picture; null: there is one. */
  readonly empty: string | null;
  /** Values in view, and points drawn for them. */
  readonly points: number;
  readonly drawn: number;
  /** Newest value of `focus`. */
  readonly latest: string | null;
  readonly lastStep: number;
  /** What is there at x (`row`: the row of a heat map under the pointer). null: nothing. */
  readonly readout: (x: number, row: number | null) => Readout | null;
  /** The next x with a value, for keyboards. */
  readonly neighbour: (x: number | null, direction: -1 | 1) => number | null;
  readonly table: () => TableData;
  readonly csv: () => Iterable<string>;
}

export interface ChartDefinition {
  readonly id: string;
  readonly title: () => string;
  /** Beside the title. */
  readonly unit: (scene: Scene) => string;
  readonly canLog: boolean;
  readonly axisWidth: number;
  /** Left out where no run that is shown has anything for it. */
  readonly isThere: (scene: Scene) => boolean;
  /** Takes the whole width. */
  readonly wide: boolean;
  /** Shows moving averages. */
  readonly smooths: boolean;
  /** CSS pixels of the plot for what there is to show. */
  readonly height: (scene: Scene) => number;
  readonly picture: (scene: Scene, options: CardOptions) => Picture;
}

/** How strongly a run is drawn: others than the one that is pointed at step back. */
export function presence(scene: Scene, run: ShownRun): number {
  return scene.pointed === null || scene.pointed === run ? 1 : 0.3;
}

/** In the order of drawing: the run that is pointed at lies on top. */
export function pointedLast<Item>(items: readonly Item[], runOf: (item: Item) => ShownRun, scene: Scene): Item[] {
  const onTop = (item: Item) => runOf(item) === scene.pointed;
  return [...items.filter((item) => !onTop(item)), ...items.filter(onTop)];
}

/** Rows of a table at most: what a screen reader or an eye can go through. */
export const TABLE_ROWS = 100;

/** `count` numbers from 0 to below `total`, evenly, with the first and the last. */
export function evenly(total: number, count: number): number[] {
  if (total <= count) return Array.from({ length: total }, (_, at) => at);
  return Array.from({ length: count }, (_, at) => Math.round((at * (total - 1)) / (count - 1)));
}
