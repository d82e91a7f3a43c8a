// The sign of a series as a small picture, for legends, tool tips and the list of runs.
import { cssColour } from '../shared/colour';
import { element } from '../shared/dom';
import { drawMarker } from '../shared/strokes';
import type { ColourScale, Sign } from './picture';

const WIDTH = 26;
const HEIGHT = 12;

export function signCanvas(sign: Sign): HTMLCanvasElement {
  const ratio = Math.max(1, window.devicePixelRatio);
  const canvas = element('canvas', {
    class: 'sign',
    width: WIDTH * ratio,
    height: HEIGHT * ratio,
    'aria-hidden': 'true',
  });
  const context = canvas.getContext('2d');
  if (context !== null) {
    context.scale(ratio, ratio);
    drawSign(context, sign, 0, HEIGHT / 2);
  }
  return canvas;
}

/** @param y of the line; the sign is 26 pixels wide and 12 high. */
export function drawSign(context: CanvasRenderingContext2D, sign: Sign, x: number, y: number): void {
  context.save();
  context.strokeStyle = cssColour(sign.colour, sign.alpha);
  context.fillStyle = context.strokeStyle;
  context.lineWidth = 1.75;
  context.setLineDash([...sign.dash]);
  context.beginPath();
  context.moveTo(x + 1, y);
  context.lineTo(x + WIDTH - 1, y);
  context.stroke();
  context.setLineDash([]);
  if (sign.marker !== null) drawMarker(context, sign.marker, x + WIDTH / 2, y, 3.5);
  context.restore();
}

const SCALE_WIDTH = 96;
const SCALE_HEIGHT = 8;

/** From low to high, as a bar with its ends named. */
export function scaleLegend({ low, high, colour }: ColourScale): HTMLElement {
  const canvas = element('canvas', { class: 'scale', width: SCALE_WIDTH, height: SCALE_HEIGHT, 'aria-hidden': 'true' });
  const context = canvas.getContext('2d');
  for (let x = 0; x < SCALE_WIDTH; x++) {
    if (context === null) break;
    context.fillStyle = cssColour(colour(x / (SCALE_WIDTH - 1)));
    context.fillRect(x, 0, 1, SCALE_HEIGHT);
  }
  return element('span', { class: 'legend-entry' }, low, canvas, high);
}

export { WIDTH as SIGN_WIDTH };
