// Charts as files: a picture with its title and legend at twice the resolution, series as CSV.
import { cssColour } from '../shared/colour';
import type { Theme } from '../shared/theme';
import type { ChartCard } from './chart-card';
import type { Scene, Sign } from './picture';
import { ROW_COLUMNS, SPARSE_COLUMNS, type RowColumn } from './protocol';
import { rowsCsv } from './series/csv';
import { drawSign, SIGN_WIDTH } from './sign';

const PICTURE_RATIO = 2;
const MARGIN = 12;
const LINE_HEIGHT = 18;

/** What the host is asked to save. */
export interface ExportedFile {
  readonly kind: 'png' | 'csv';
  readonly suggestedName: string;
  readonly data: ArrayBuffer;
}

/** A chart as it is shown, or the series in its range. */
export async function fileOfChart(card: ChartCard, scene: Scene, kind: 'png' | 'csv'): Promise<ExportedFile> {
  const data = kind === 'png' ? await pictureOf(card, scene) : await textBytes(card.picture?.csv() ?? []);
  return { kind, suggestedName: fileName([scene.focus?.info.name ?? '', card.definition.id], kind), data };
}

/** All columns of all shown runs, from the first step to the last. */
export async function fileOfAll(scene: Scene): Promise<ExportedFile> {
  const isThere = (column: RowColumn) => !SPARSE_COLUMNS.has(column) || scene.runs.some(({ data }) => data.has(column));
  const pieces = rowsCsv(
    scene.runs.map((run) => ({ name: run.info.name, data: run.data })),
    {
      columns: ROW_COLUMNS.filter((column) => !PLACE.has(column) && isThere(column)),
      smoothing: 0,
      smoothed: [],
      x: scene.x,
      range: null,
    },
  );
  const suggestedName = fileName([scene.focus?.info.name ?? '', 'metrics'], 'csv');
  return { kind: 'csv', suggestedName, data: await textBytes(pieces) };
}

/** Columns that every CSV has. */
const PLACE: ReadonlySet<string> = new Set(['step', 'tokens', 'elapsed', 'time']);

/** PNG of a chart as it is shown, with a title line and, where there are several series, a legend. */
async function pictureOf(card: ChartCard, scene: Scene): Promise<ArrayBuffer> {
  const { width, height } = card.size;
  const plot = card.canvas(width, height, PICTURE_RATIO);
  if (plot === null) throw new Error('the chart has not been drawn yet');
  const { theme } = scene;
  const entries: { sign: Sign; label: string }[] = [
    ...scene.runs.map((run) => ({
      sign: { colour: run.colour, alpha: 1, dash: run.style.dash, marker: scene.several ? run.style.marker : null },
      label: run.info.name,
    })),
    ...card.legendEntries,
  ];
  const measure = context(document.createElement('canvas'));
  measure.font = font(theme, 11);
  const placed = flow(
    entries.map((entry) => SIGN_WIDTH + 6 + measure.measureText(entry.label).width + 16),
    width - 2 * MARGIN,
  );
  const legendHeight = ((placed.at(-1)?.line ?? -1) + 1) * LINE_HEIGHT;
  const top = MARGIN + 20 + legendHeight + 4;
  const canvas = document.createElement('canvas');
  canvas.width = width * PICTURE_RATIO;
  canvas.height = (top + height + MARGIN / 2) * PICTURE_RATIO;
  const target = context(canvas);
  target.scale(PICTURE_RATIO, PICTURE_RATIO);
  target.fillStyle = cssColour(theme.background);
  target.fillRect(0, 0, canvas.width, canvas.height);
  target.fillStyle = cssColour(theme.foreground);
  target.font = `600 ${font(theme, 13)}`;
  const { definition } = card;
  const unit = definition.unit(scene);
  target.fillText(unit === '' ? definition.title() : `${definition.title()} (${unit})`, MARGIN, MARGIN + 12);
  target.font = font(theme, 11);
  entries.forEach((entry, index) => {
    const place = placed[index];
    if (place === undefined) return;
    const x = MARGIN + place.left;
    const y = MARGIN + 20 + place.line * LINE_HEIGHT + LINE_HEIGHT / 2;
    drawSign(target, entry.sign, x, y);
    target.fillStyle = cssColour(theme.foreground);
    target.fillText(entry.label, x + SIGN_WIDTH + 6, y + 4);
  });
  target.drawImage(plot, 0, top, width, height);
  return bytesOf(canvas);
}

/** Left ends and lines of things of these widths, set one after the other. */
function flow(widths: readonly number[], available: number): { left: number; line: number }[] {
  let left = 0;
  let line = 0;
  return widths.map((width) => {
    if (left > 0 && left + width > available) {
      left = 0;
      line++;
    }
    const place = { left, line };
    left += width;
    return place;
  });
}

function font(theme: Theme, size: number): string {
  return `${String(size)}px ${theme.font}`;
}

function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext('2d');
  if (found === null) throw new Error('this page cannot draw');
  return found;
}

function bytesOf(canvas: HTMLCanvasElement): Promise<ArrayBuffer> {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob === null) reject(new Error('the picture is too large'));
      else resolve(blob.arrayBuffer());
    }, 'image/png');
  });
}

/** UTF-8 of text that comes in pieces, without ever holding it as one string. */
function textBytes(pieces: Iterable<string>): Promise<ArrayBuffer> {
  return new Blob([...pieces]).arrayBuffer();
}

/** A name for a file out of words that may hold anything. */
export function fileName(words: readonly string[], extension: string): string {
  const name = words.map((word) => word.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-').replaceAll(/^-+|-+$/g, '')).join('-');
  return `${name.slice(0, 120) || 'chart'}.${extension}`;
}
