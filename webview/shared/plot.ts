// One chart: Chart.js for axes, layout and gestures, and our own strokes for the data.
//
// Chart.js's own line elements keep an object a point, which costs more than drawing: a frame of panning over a dozen thinned
// series would not keep up with the mouse. The plot therefore has no Chart.js data sets; a plugin strokes typed arrays into the
// area that Chart.js lays out. What a frame shows is given whole each time (`render`), so there is no state to fall behind.
import { Chart, LinearScale, LineController, LogarithmicScale, type ChartConfiguration, type Scale } from 'chart.js';
import zoomPlugin from 'chartjs-plugin-zoom';
import type { ZoomPluginOptions } from 'chartjs-plugin-zoom/types/options';
import { fractionOf, valueAt, type Axis, type Range } from './series/axis';
import { cssColour } from './colour';
import type { Theme } from './theme';

Chart.register(LineController, LinearScale, LogarithmicScale, zoomPlugin);

export interface PlotAxis {
  readonly axis: Axis;
  readonly ticks: readonly number[];
  readonly label: (value: number) => string;
  /** Beside the axis; null: none. */
  readonly title: string | null;
  /** Values grow downwards (the rows of a heat map). */
  readonly downwards?: boolean;
  readonly grid?: boolean;
}

/** The rectangle of the data, in CSS pixels of the canvas. */
export interface PlotArea {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly toX: (value: number) => number;
  readonly toY: (value: number) => number;
}

export interface PlotFrame {
  readonly x: PlotAxis;
  readonly y: PlotAxis;
  /** Panning moves y as well (once y is zoomed; else it would only lose the data). */
  readonly panY: boolean;
  readonly draw: (context: CanvasRenderingContext2D, area: PlotArea) => void;
}

export interface PlotEvents {
  /** The user has zoomed (a box, the wheel) or panned. */
  readonly onView: (x: Range, y: Range, gesture: 'box' | 'wheel' | 'pan') => void;
  readonly onReset: () => void;
  /** The plot has a new size and must be rendered again. */
  readonly onResize: () => void;
}

/** Width of the y axis: the same for all charts of a panel, so that they stand in line. */
export const Y_AXIS_WIDTH = 64;
const PADDING_RIGHT = 12;
const PADDING_TOP = 8;

export class Plot {
  private readonly chart: Chart;
  private frame: PlotFrame | null = null;
  /** The gesture under way began with a press (a box), not with the wheel. */
  private box = true;
  /** While the plot is dragged along only our own frames are painted: Chart.js would paint one more at every move of the mouse. */
  private panning = false;
  private rendering = false;

  /** @param canvas alone in an element of its own, whose size it takes. */
  constructor(
    canvas: HTMLCanvasElement,
    private readonly axisWidth: number,
    private readonly events: PlotEvents,
  ) {
    const mayDraw = () => this.rendering || !this.panning;
    this.chart = new Chart(canvas, {
      ...withData(() => this.frame, mayDraw),
      options: { responsive: true, events: [] },
    });
    canvas.addEventListener('dblclick', () => this.events.onReset());
  }

  /** Width of the data's rectangle in a plot of this width, known before anything is drawn. */
  dataWidth(width: number): number {
    return Math.max(1, Math.round(width - this.axisWidth - PADDING_RIGHT));
  }

  /** null before the first frame. */
  get area(): PlotArea | null {
    return this.frame === null ? null : areaOf(this.chart, this.frame);
  }

  render(frame: PlotFrame, theme: Theme): void {
    this.frame = frame;
    // Options are given whole, as the frame is: Chart.js keeps what it has resolved from the ones before.
    this.chart.options = {
      ...optionsOf(frame, theme, this.axisWidth),
      responsive: true,
      onResize: () => this.events.onResize(),
      plugins: { zoom: this.gestures(theme) },
    };
    this.rendering = true;
    this.chart.update('none');
    this.rendering = false;
  }

  /** The frame as a picture of its own, `ratio` times as sharp. */
  picture(theme: Theme, width: number, height: number, ratio: number): HTMLCanvasElement {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const { frame } = this;
    if (frame === null) return canvas;
    const options = optionsOf(frame, theme, this.axisWidth);
    const chart = new Chart(canvas, {
      ...withData(
        () => frame,
        () => true,
      ),
      options: { ...options, responsive: false, devicePixelRatio: ratio },
    });
    chart.update('none');
    const copy = document.createElement('canvas');
    copy.width = width * ratio;
    copy.height = height * ratio;
    copy.getContext('2d')?.drawImage(canvas, 0, 0);
    chart.destroy();
    return copy;
  }

  destroy(): void {
    this.chart.destroy();
  }

  private moved(gesture: 'box' | 'wheel' | 'pan'): void {
    const { x, y } = this.chart.scales;
    if (x === undefined || y === undefined) return;
    this.events.onView({ min: x.min, max: x.max }, { min: y.min, max: y.max }, gesture);
  }

  private gestures(theme: Theme): ZoomPluginOptions {
    return {
      zoom: {
        mode: () => (this.box ? 'xy' : 'x'),
        drag: {
          enabled: true,
          threshold: 6,
          borderWidth: 1,
          backgroundColor: cssColour(theme.focus, 0.15),
          borderColor: cssColour(theme.focus),
        },
        // A wheel alone scrolls the page, as everywhere.
        wheel: { enabled: true, modifierKey: 'ctrl', speed: 0.15 },
        pinch: { enabled: true },
        onZoomStart: ({ event }) => {
          this.box = event.type === 'mousedown';
          return true;
        },
        onZoom: () => this.moved(this.box ? 'box' : 'wheel'),
      },
      pan: {
        enabled: true,
        mode: () => (this.frame?.panY === true ? 'xy' : 'x'),
        modifierKey: 'shift',
        threshold: 2,
        onPanStart: () => {
          this.panning = true;
          return true;
        },
        onPanComplete: () => {
          this.panning = false;
        },
        onPan: () => this.moved('pan'),
      },
    };
  }
}

/** The plugin that strokes the frame's data. */
function withData(
  frame: () => PlotFrame | null,
  mayDraw: () => boolean,
): Pick<ChartConfiguration<'line'>, 'type' | 'data' | 'plugins'> {
  return {
    type: 'line',
    data: { datasets: [] },
    plugins: [
      {
        id: 'data',
        beforeDraw: () => (mayDraw() ? undefined : false),
        beforeDatasetsDraw: (chart) => {
          const shown = frame();
          if (shown === null) return;
          const area = areaOf(chart, shown);
          const { ctx } = chart;
          ctx.save();
          ctx.beginPath();
          // Half of a line's width and the markers may stand over the edge.
          ctx.rect(area.left - 1, area.top - 2, area.right - area.left + 3, area.bottom - area.top + 4);
          ctx.clip();
          shown.draw(ctx, area);
          ctx.restore();
        },
      },
    ],
  };
}

function optionsOf(
  frame: PlotFrame,
  theme: Theme,
  axisWidth: number,
): NonNullable<ChartConfiguration<'line'>['options']> {
  const y = scaleOf(frame.y, theme);
  return {
    maintainAspectRatio: false,
    animation: false,
    // Hovering is ours: it looks at the data, not at drawn points.
    events: [],
    layout: { padding: { right: PADDING_RIGHT, top: PADDING_TOP } },
    scales: {
      x: scaleOf(frame.x, theme),
      y: {
        ...y,
        afterFit: (scale) => {
          scale.width = axisWidth;
        },
      },
    },
  };
}

function scaleOf({ axis, ticks, label, title, downwards = false, grid = true }: PlotAxis, theme: Theme) {
  const font = { family: theme.font, size: theme.fontSize };
  const common = {
    bounds: 'data' as const,
    min: axis.min,
    max: axis.max,
    reverse: downwards,
    border: { color: cssColour(theme.grid) },
    grid: { color: cssColour(theme.grid), drawTicks: false, display: grid },
    title: { display: title !== null, text: title ?? '', color: cssColour(theme.muted), font, padding: 2 },
    ticks: {
      color: cssColour(theme.muted),
      font,
      padding: 6,
      autoSkip: false,
      maxRotation: 0,
      callback: (value: number | string) => label(Number(value)),
    },
    afterBuildTicks: (scale: Scale) => {
      // During a gesture the scale is ahead of the frame; a mark outside of it would take all room for its label.
      const slack = (scale.max - scale.min) * 1e-9;
      scale.ticks = ticks
        .filter((value) => value >= scale.min - slack && value <= scale.max + slack)
        .map((value) => ({ value }));
    },
  };
  return axis.kind === 'log' ? { ...common, type: 'logarithmic' as const } : { ...common, type: 'linear' as const };
}

function areaOf(chart: Chart, frame: PlotFrame): PlotArea {
  const { left, right, top, bottom } = chart.chartArea;
  // The scales' own ends: while a gesture is under way they are ahead of the frame.
  const along = (id: 'x' | 'y'): Axis => {
    const { axis } = frame[id];
    const scale = chart.scales[id];
    return { kind: axis.kind, min: scale?.min ?? axis.min, max: scale?.max ?? axis.max };
  };
  const x = along('x');
  const y = along('y');
  const { downwards = false } = frame.y;
  return {
    left,
    right,
    top,
    bottom,
    toX: (value) => left + fractionOf(x, value) * (right - left),
    toY: (value) => {
      const fraction = fractionOf(y, value);
      return downwards ? top + fraction * (bottom - top) : bottom - fraction * (bottom - top);
    },
  };
}

/** The value under a pixel of the area. */
export function valueAtPixel(area: PlotArea, axis: Axis, pixel: number): number {
  return valueAt(axis, (pixel - area.left) / (area.right - area.left));
}
