// The cells of a heat map on a canvas. A long run of a large model has more cells than the canvas has pixels, so they are painted
// as one picture with a line of pixels a row, which the canvas stretches: what would be a rectangle each costs a few numbers each.
import { cssColour, mix, type Rgb } from '../shared/colour';
import type { PlotArea } from '../shared/plot';
import type { Theme } from '../shared/theme';
import type { HeatGrid } from './series/heat';

/** Left and right border of a measurement's cells, in units of x. */
export interface HeatColumn {
  readonly left: number;
  readonly right: number;
}

export interface HeatCells {
  readonly grid: HeatGrid;
  /** One for each step of the grid. */
  readonly columns: readonly HeatColumn[];
  readonly theme: Theme;
  /** A line of background between the rows. */
  readonly gaps: boolean;
}

/** Shades between the least and the greatest value. */
const SHADES = 256;

export function drawHeat(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  { grid, columns, theme, gaps }: HeatCells,
): void {
  const rows = grid.names.length;
  const strips = stripsOf(columns, area);
  if (rows === 0 || strips.length === 0) return;
  const left = strips[0]?.from ?? 0;
  const right = strips.at(-1)?.to ?? 0;
  const top = Math.round(area.toY(0));
  const bottom = Math.round(area.toY(rows));
  context.save();
  context.imageSmoothingEnabled = false;
  const picture = pictureOf(grid, strips, theme);
  context.drawImage(picture, 0, 0, right - left, rows, left, top, right - left, bottom - top);
  context.restore();
  if (!gaps) return;
  context.fillStyle = cssColour(theme.background);
  for (let row = 1; row <= rows; row++) {
    const y = Math.round(top + (row * (bottom - top)) / rows);
    if (y >= area.top && y <= area.bottom + 1) context.fillRect(left, y - 1, right - left, 1);
  }
}

/** Measurements that are drawn side by side as one, and where. */
interface Strip {
  /** Index of the first column, and behind the last. */
  readonly first: number;
  readonly end: number;
  /** Pixels. */
  readonly from: number;
  readonly to: number;
}

/** A strip a column that is in view; one for all columns that fall on the same pixel. */
function stripsOf(columns: readonly HeatColumn[], area: PlotArea): Strip[] {
  const strips: Strip[] = [];
  for (let column = 0; column < columns.length; column++) {
    const { left = 0, right = 0 } = columns[column] ?? {};
    const from = clampedX(area, left);
    const to = clampedX(area, right);
    if (!(to > from)) continue;
    const before = strips.at(-1);
    if (before !== undefined && to - before.from < 1)
      strips[strips.length - 1] = { ...before, end: column + 1, to: Math.max(before.to, Math.round(to)) };
    else
      strips.push({
        first: column,
        end: column + 1,
        from: Math.round(from),
        to: Math.max(Math.round(from) + 1, Math.round(to)),
      });
  }
  return strips;
}

function clampedX(area: PlotArea, x: number): number {
  const at = area.toX(x);
  return Number.isNaN(at) ? area.left : Math.min(area.right, Math.max(area.left, at));
}

/** Where the picture is painted before it is stretched: kept, because a frame has no time to allocate megabytes. */
let canvas: HTMLCanvasElement | null = null;
let image: ImageData | null = null;

/** One line of pixels a row, as wide as the strips together, in the top left corner of a canvas. Of several measurements on one
 *  strip the greatest shows, so that nothing that stands out is lost. */
function pictureOf(grid: HeatGrid, strips: readonly Strip[], theme: Theme): HTMLCanvasElement {
  const left = strips[0]?.from ?? 0;
  const width = (strips.at(-1)?.to ?? 0) - left;
  const rows = grid.names.length;
  canvas ??= document.createElement('canvas');
  const context = canvas.getContext('2d');
  if (context === null) return canvas;
  if (canvas.width < width || canvas.height < rows) {
    canvas.width = Math.max(canvas.width, width);
    canvas.height = Math.max(canvas.height, rows);
  }
  if (image?.width !== width || image.height !== rows) image = context.createImageData(width, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const palette = paletteOf(theme);
  const shades = shadesOf(grid);
  const columns = grid.steps.length;
  pixels.fill(0);
  for (let row = 0; row < rows; row++) {
    const start = row * width - left;
    for (const { first, end, from, to } of strips) {
      let shade = shades[row * columns + first] ?? 0;
      for (let column = first + 1; column < end; column++) {
        shade = Math.max(shade, shades[row * columns + column] ?? 0);
      }
      const colour = palette[shade] ?? 0;
      for (let pixel = start + from; pixel < start + to; pixel++) pixels[pixel] = colour;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const shadesByGrid = new WeakMap<HeatGrid, Uint16Array>();

/** The grid's values as indices into the palette. */
function shadesOf(grid: HeatGrid): Uint16Array {
  let shades = shadesByGrid.get(grid);
  if (shades === undefined) {
    const { values, most } = grid;
    shades = Uint16Array.from(values, (value) =>
      Number.isNaN(value) ? 0 : 1 + (most === 0 ? 0 : Math.max(0, Math.round((value / most) * (SHADES - 1)))),
    );
    shadesByGrid.set(grid, shades);
  }
  return shades;
}

const palettes = new WeakMap<Theme, Uint32Array>();

/** Shades as pixels of an image, in the byte order of the machine. The first is for what was not measured: there the background
 *  shows through. */
function paletteOf(theme: Theme): Uint32Array {
  let palette = palettes.get(theme);
  if (palette === undefined) {
    const bytes = new Uint8ClampedArray(4 * (SHADES + 1));
    for (let shade = 0; shade < SHADES; shade++)
      bytes.set([...heatColour(theme, shade / (SHADES - 1)), 255], 4 * (shade + 1));
    palette = new Uint32Array(bytes.buffer);
    palettes.set(theme, palette);
  }
  return palette;
}

/** From nearly the background to a chart colour of the theme and on to the text's: one hue whose lightness runs one way, so that
 *  it reads without colour as well. `share`: 0 to 1. */
export function heatColour(theme: Theme, share: number): Rgb {
  const low = mix(theme.background, theme.foreground, 0.06);
  const middle = theme.chart('blue');
  const high = mix(middle, theme.foreground, 0.75);
  return share < 0.6 ? mix(low, middle, share / 0.6) : mix(middle, high, (share - 0.6) / 0.4);
}
