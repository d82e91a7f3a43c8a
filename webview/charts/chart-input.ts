// What pointer and keyboard do in a chart beside the gestures of the plot: the cursor, and everything once more for the keyboard.
import { valueAtPixel, type PlotArea } from '../shared/plot';
import { fractionOf } from '../shared/series/axis';
import type { Picture, Scene } from './picture';

/** Where the pointer is in the plot. */
export interface PointerPlace {
  /** CSS pixels from the plot's top. */
  readonly y: number;
  /** Of a heat map; null: the chart has no rows. */
  readonly row: number | null;
}

export interface ChartInput {
  /** What is drawn; null: nothing yet. */
  readonly shown: () => { readonly scene: Scene; readonly picture: Picture; readonly area: PlotArea } | null;
  /** @param x in units of the axis; null: no cursor
   *  @param place null: the cursor is the keyboard's */
  readonly onPointer: (x: number | null, place: PointerPlace | null) => void;
  readonly onZoom: (factor: number, focus: number) => void;
  readonly onPan: (share: number) => void;
  readonly onReset: () => void;
  readonly announce: (message: string) => void;
}

export function listenToChart(plot: HTMLElement, input: ChartInput): void {
  const leave = () => input.onPointer(null, null);
  plot.addEventListener('pointermove', (event) => pointerMoved(plot, event, input));
  plot.addEventListener('pointerleave', leave);
  plot.addEventListener('pointerdown', leave);

  /** Of the keyboard's cursor. */
  let keyX: number | null = null;
  const moveTo = (x: number | null) => {
    keyX = x;
    input.onPointer(x, null);
    const shown = input.shown();
    const readout = x === null || shown === null ? null : shown.picture.readout(x, null);
    if (readout === null) return;
    const values = readout.rows.map((row) => `${row.label}: ${row.value}`);
    input.announce([readout.heading, ...values].join('; '));
  };
  plot.addEventListener('blur', () => moveTo(null));
  plot.addEventListener('keydown', (event) => {
    const shown = input.shown();
    if (shown === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const { picture, scene } = shown;
    const act = keyAction(event, {
      ...input,
      focus: keyX === null ? 0.5 : fractionOf(scene.axis, keyX),
      step: (direction) => moveTo(picture.neighbour(keyX, direction)),
      jump: (direction) => moveTo(picture.neighbour(null, direction)),
      leave: () => moveTo(null),
    });
    if (act === null) return;
    event.preventDefault();
    act();
  });
}

function pointerMoved(plot: HTMLElement, event: PointerEvent, { shown, onPointer }: ChartInput): void {
  const found = shown();
  if (found === null || event.buttons !== 0) return;
  const { area, scene, picture } = found;
  const box = plot.getBoundingClientRect();
  const x = event.clientX - box.left;
  const y = event.clientY - box.top;
  const inside = x >= area.left && x <= area.right && y >= area.top && y <= area.bottom;
  if (!inside) {
    onPointer(null, null);
    return;
  }
  const { axis, downwards } = picture.y;
  const along = (y - area.top) / (area.bottom - area.top);
  const row = downwards === true ? Math.floor(axis.min + along * (axis.max - axis.min)) : null;
  onPointer(valueAtPixel(area, scene.axis, x), { y, row });
}

interface KeyTarget {
  /** Around which place zooming zooms, a share of the axis. */
  readonly focus: number;
  readonly step: (direction: -1 | 1) => void;
  /** To the first (1) or the last (−1). */
  readonly jump: (direction: -1 | 1) => void;
  readonly leave: () => void;
  readonly onZoom: ChartInput['onZoom'];
  readonly onPan: ChartInput['onPan'];
  readonly onReset: ChartInput['onReset'];
}

/** null: the key is none of the chart's. */
function keyAction(event: KeyboardEvent, target: KeyTarget): (() => void) | null {
  switch (event.key) {
    case 'ArrowLeft':
    case 'ArrowRight': {
      const direction = event.key === 'ArrowRight' ? 1 : -1;
      return event.shiftKey ? () => target.onPan(0.1 * direction) : () => target.step(direction);
    }
    case 'Home':
      return () => target.jump(1);
    case 'End':
      return () => target.jump(-1);
    case '+':
    case '=':
      return () => target.onZoom(1.5, target.focus);
    case '-':
      return () => target.onZoom(1 / 1.5, target.focus);
    case '0':
      return target.onReset;
    case 'Escape':
      return target.leave;
    default:
      return null;
  }
}
