// Icons as shapes on a 16 × 16 grid, in the colour of the text around them: no font to load, nothing for the policy to allow.
import { svg } from './dom';

const SHAPES = {
  pause: 'M4.5 3h2.5v10H4.5zM9 3h2.5v10H9z',
  play: 'M4 2.5v11l9.5-5.5z',
  stop: 'M3.5 3.5h9v9h-9z',
  save: 'M2.5 2.5h9l2 2v9h-11zM5 2.5v4h5v-4M5 13.5v-4h6v4',
  table: 'M2.5 3.5h11v9h-11zM2.5 6.5h11M2.5 9.5h11M6.5 3.5v9',
  image: 'M2.5 3.5h11v9h-11zM3 12l3.5-4.5 2.5 3 1.5-1.5L13 12M11 6.2v.01',
  csv: 'M8 2.5v7.5M4.8 7l3.2 3.2L11.2 7M3 13.5h10',
  add: 'M8 3v10M3 8h10',
  close: 'M4 4l8 8M12 4l-8 8',
  chevron: 'M5.5 3.5L10.5 8l-5 4.5',
  reset: 'M3 8a5 5 0 1 0 1.6-3.7M3 2.5V5.5h3',
  eye: 'M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM8 6a2 2 0 1 0 .01 0z',
  hidden: 'M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM2.5 13.5l11-11',
  pin: 'M6 2.5h4M7 2.5v4L4.5 9.5h7L9 6.5v-4M8 9.5v4',
  flag: 'M4 14V2.5M4 3h8l-2 2.75L12 8.5H4',
  copy: 'M5.5 5.5h8v8h-8zM5.5 10.5h-3v-8h8v3',
  report: 'M3.5 2.5h6l3 3v8h-9zM9 2.5v3.5h3.5M5.5 11.5v-2M8 11.5v-4M10.5 11.5v-1',
  curves: 'M2.5 2.5v11h11M4.5 10.5c2 0 2.5-5 4.5-5s2 3 4 3',
  up: 'M8 13V3.5M4.5 7L8 3.5 11.5 7',
  down: 'M8 3v9.5M4.5 9L8 12.5 11.5 9',
  follow: 'M2.5 8h8M7.2 4.7L10.5 8l-3.3 3.3M13 3v10',
  warning: 'M8 2.5l6 11H2zM8 6.5v3.5M8 11.6v.2',
  error: 'M8 2a6 6 0 1 0 .01 0zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4',
  information: 'M8 2a6 6 0 1 0 .01 0zM8 7.2v4M8 4.8v.2',
} as const;

const FILLED: ReadonlySet<string> = new Set(['pause', 'play', 'stop']);

export type IconName = keyof typeof SHAPES;

export function icon(name: IconName): SVGElement {
  const filled = FILLED.has(name);
  return svg(
    'svg',
    { viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': 'true', focusable: 'false', class: 'icon' },
    svg('path', {
      d: SHAPES[name],
      fill: filled ? 'currentColor' : 'none',
      stroke: filled ? 'none' : 'currentColor',
      'stroke-width': 1.25,
      'stroke-linejoin': 'round',
      'stroke-linecap': 'round',
    }),
  );
}
