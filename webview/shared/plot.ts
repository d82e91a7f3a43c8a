// One chart: Chart.js for size, scales and gestures, and our own strokes for data and axes.
//
// Chart.js's own elements keep an object a point and options a mark, which costs more than drawing: a frame of panning over a dozen
// thinned series would not keep up with the mouse. The plot therefore has no Chart.js data sets and shows none of its axes; a plugin
// strokes typed arrays into the area that Chart.js lays out. What a frame shows is given whole each time (`render`), so there is no
// state to fall behind; where nothing but the axes' ends have changed, Chart.js only paints.
import { Chart, LinearScale, LineController, LogarithmicScale, type ChartConfiguration, type Scale } from 'chart.js';
import zoomPlugin from 'chartjs-plugin-zoom';
import type { ZoomPluginOptions } from 'chartjs-plugin-zoom/types/options';
import { cssColour } from './colour';
import { drawGrid, drawLabels, labelHeight, type PlotArea, type PlotAxis } from './plot-axes';
import { fractionOf, valueAt, type Axis, type Range } from './series/axis';
import type { Theme } from './theme';

export type { PlotArea, PlotAxis };

Chart.register(LineController, LinearScale, LogarithmicScale, zoomPlugin);

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
  private shown: { readonly frame: PlotFrame; readonly theme: Theme } | null = null;
  /** What Chart.js was last told of the frame beside the ends of its axes. */
  private told = '';
  private toldTheme: Theme | null = null;
  /** The gesture under way began with a press (a box), not with the wheel. */
  private box = true;
  /** While the plot is moved only our own frames are painted: Chart.js would paint one more at every move of the mouse. */
  private moving = false;
  private rendering = false;

  /** @param canvas alone in an element of its own, whose size it takes. */
  constructor(
    canvas: HTMLCanvasElement,
    private readonly axisWidth: number,
    private readonly events: PlotEvents,
  ) {
    const mayDraw = () => this.rendering || !this.moving;
    this.chart = new Chart(canvas, {
      ...withData(() => this.shown, mayDraw),
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
    return this.shown === null ? null : areaOf(this.chart, this.shown.frame);
  }

  render(frame: PlotFrame, theme: Theme): void {
    this.shown = { frame, theme };
    this.rendering = true;
    const told = `${frame.x.axis.kind} ${frame.y.axis.kind} ${String(frame.y.downwards)}`;
    const { x, y } = this.chart.scales;
    if (told === this.told && theme === this.toldTheme && x !== undefined && y !== undefined) {
      moveScale(x, frame.x.axis);
      moveScale(y, frame.y.axis);
      this.chart.draw();
    } else {
      this.told = told;
      this.toldTheme = theme;
      this.chart.options = {
        ...optionsOf(frame, theme, this.axisWidth),
        responsive: true,
        onResize: () => this.events.onResize(),
        plugins: { zoom: this.gestures(theme) },
      };
      this.chart.update('none');
    }
    this.rendering = false;
  }

  /** The frame as a picture of its own, `ratio` times as sharp. */
  picture(theme: Theme, width: number, height: number, ratio: number): HTMLCanvasElement {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const { shown } = this;
    if (shown === null) return canvas;
    const chart = new Chart(canvas, {
      ...withData(
        () => ({ frame: shown.frame, theme }),
        () => true,
      ),
      options: { ...optionsOf(shown.frame, theme, this.axisWidth), responsive: false, devicePixelRatio: ratio },
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
          this.moving = !this.box;
          return true;
        },
        onZoom: () => {
          this.moving = false;
          this.moved(this.box ? 'box' : 'wheel');
        },
      },
      pan: {
        enabled: true,
        mode: () => (this.shown?.frame.panY === true ? 'xy' : 'x'),
        modifierKey: 'shift',
        threshold: 2,
        onPanStart: () => {
          this.moving = true;
          return true;
        },
        onPanComplete: () => {
          this.moving = false;
        },
        onPan: () => this.moved('pan'),
      },
    };
  }
}

/** The plugin that strokes axes and data of a frame. */
function withData(
  shown: () => { readonly frame: PlotFrame; readonly theme: Theme } | null,
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
          const now = shown();
          if (now === null) return;
          const { frame, theme } = now;
          const area = areaOf(chart, frame);
          const { ctx } = chart;
          drawGrid(ctx, area, frame, theme);
          drawLabels(ctx, area, frame, theme, chart.width);
          ctx.save();
          ctx.beginPath();
          // Half of a line's width and the markers may stand over the edge.
          ctx.rect(area.left - 1, area.top - 2, area.right - area.left + 3, area.bottom - area.top + 4);
          ctx.clip();
          frame.draw(ctx, area);
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
  return {
    maintainAspectRatio: false,
    animation: false,
    // Hovering is ours: it looks at the data, not at drawn points.
    events: [],
    layout: { padding: { left: axisWidth, right: PADDING_RIGHT, top: PADDING_TOP, bottom: labelHeight(theme) } },
    scales: { x: scaleOf(frame.x), y: scaleOf(frame.y) },
  };
}

function scaleOf({ axis, downwards = false }: PlotAxis) {
  const common = {
    display: false,
    bounds: 'data' as const,
    min: axis.min,
    max: axis.max,
    reverse: downwards,
    // Chart.js would make and measure marks of its own at each of its updates.
    ticks: { display: false, autoSkip: false },
    afterBuildTicks: (scale: Scale) => {
      scale.ticks = [];
    },
  };
  return axis.kind === 'log' ? { ...common, type: 'logarithmic' as const } : { ...common, type: 'linear' as const };
}

/** New ends for a scale that is otherwise as it was. The options are what gestures start from and what an update goes by. */
function moveScale(scale: Scale, { min, max }: Axis): void {
  scale.options.min = min;
  scale.options.max = max;
  scale.min = min;
  scale.max = max;
  scale.configure();
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
