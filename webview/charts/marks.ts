// What happened during a run, as marks in its charts: resumes, checkpoints, skipped steps.
import { cssColour } from '../shared/colour';
import type { PlotArea } from '../shared/plot';
import { thinRows } from '../shared/series/thin';
import { drawMarker, strokeUpright } from '../shared/strokes';
import type { Scene } from './picture';
import { extentWithin, positionOf } from './series/run-data';
import { text } from './strings';

/** Resumes of the header's run, and its checkpoints as small marks on the axis. */
export function drawMarks(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  { focus, runs, x, theme }: Scene,
  { checkpoints, named }: { readonly checkpoints: boolean; readonly named: boolean },
): void {
  if (focus === null || !runs.includes(focus)) return;
  const font = `${String(theme.fontSize)}px ${theme.font}`;
  for (const mark of focus.data.resumes) {
    strokeUpright(context, area, positionOf(mark, x), theme.muted, named ? text.resumed() : '', font);
  }
  if (!checkpoints) return;
  context.fillStyle = cssColour(theme.muted);
  let free = area.left;
  for (const mark of focus.data.checkpoints) {
    const at = area.toX(positionOf(mark, x));
    // A long run has more of them than there is room for.
    if (!(at >= free && at <= area.right)) continue;
    drawMarker(context, 'triangle', at, area.bottom - 3, 3);
    free = at + 4;
  }
}

/** x of skipped steps, at most two a pixel. */
export function skippedIn(scene: Scene, width: number): number[] {
  const found: number[] = [];
  for (const { data } of scene.runs) {
    const series = data.series('skipped', { smoothing: 0, positive: false });
    const rows = data.rowsOnPixels(scene.x, scene.axis, width);
    if (extentWithin(data.x(scene.x), series, scene.axis)?.max !== 1) continue;
    const { x, y, length } = thinRows(data.x(scene.x), series.values(), series.pyramid, rows);
    for (let at = 0; at < length; at++) if ((y[at] ?? 0) > 0) found.push(x[at] ?? NaN);
  }
  return found;
}

export function drawSkipped(
  context: CanvasRenderingContext2D,
  area: PlotArea,
  skipped: readonly number[],
  scene: Scene,
): void {
  context.strokeStyle = cssColour(scene.theme.error);
  let free = -Infinity;
  for (const x of skipped) {
    const at = area.toX(x);
    if (at < free) continue;
    drawMarker(context, 'cross', at, area.bottom - 6, 3);
    free = at + 7;
  }
}
