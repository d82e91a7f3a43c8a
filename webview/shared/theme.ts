// The editor's theme as a canvas needs it. VS Code gives every theme colour as a --vscode-… variable of the root element and the
// kind of theme as a class of the body, and changes both in place when the user changes the theme.
import { cssColour, mix, parseColour, standingOut, type Rgb } from './colour';

export type ThemeKind = 'dark' | 'light' | 'high-contrast' | 'high-contrast-light';

export interface Theme {
  readonly kind: ThemeKind;
  readonly background: Rgb;
  readonly foreground: Rgb;
  /** For axes and what is said beside the data. */
  readonly muted: Rgb;
  readonly grid: Rgb;
  readonly focus: Rgb;
  readonly error: Rgb;
  /** How strongly a line is drawn that lies behind another, 0 to 1. */
  readonly faint: number;
  /** The theme's chart colours by name (`blue`, …), each with at least 3 : 1 against the background. */
  readonly chart: (name: string) => Rgb;
  readonly font: string;
  readonly fontSize: number;
}

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const kind = kindOf(document.body);
  const light = kind === 'light' || kind === 'high-contrast-light';
  const variable = (name: string) => style.getPropertyValue(`--vscode-${name}`).trim();
  const background = parseColour(variable('editor-background')) ?? (light ? [255, 255, 255] : [30, 30, 30]);
  const read = (name: string, otherwise: Rgb): Rgb => parseColour(variable(name), background) ?? otherwise;
  const foreground = read('foreground', light ? [59, 59, 59] : [204, 204, 204]);
  const highContrast = kind.startsWith('high');
  const muted = standingOut(
    highContrast ? foreground : read('descriptionForeground', mix(background, foreground, 0.7)),
    background,
    foreground,
    4.5,
  );
  const colours = new Map<string, Rgb>();
  return {
    kind,
    background,
    foreground,
    muted,
    grid: mix(background, foreground, highContrast ? 0.25 : 0.12),
    focus: read('focusBorder', foreground),
    faint: highContrast ? 0.6 : 0.35,
    error: standingOut(read('errorForeground', [241, 76, 76]), background, foreground, 3),
    chart: (name) => {
      let colour = colours.get(name);
      if (colour === undefined) {
        colour = standingOut(read(`charts-${name}`, foreground), background, foreground, 3);
        colours.set(name, colour);
      }
      return colour;
    },
    font: style.getPropertyValue('--vscode-font-family').trim() || 'sans-serif',
    fontSize: 11,
  };
}

function kindOf(body: HTMLElement): ThemeKind {
  const { classList } = body;
  if (classList.contains('vscode-high-contrast-light')) return 'high-contrast-light';
  if (classList.contains('vscode-high-contrast')) return 'high-contrast';
  return classList.contains('vscode-light') ? 'light' : 'dark';
}

/** Calls back after every change of the theme. */
export function onThemeChange(changed: () => void): void {
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style', 'class'] });
  observer.observe(document.body, { attributes: true, attributeFilter: ['class', 'data-vscode-theme-kind'] });
}

/** A shade of a chart colour that still stands out. */
export function shaded(theme: Theme, name: string, shade: 'plain' | 'strong' | 'soft'): Rgb {
  const colour = theme.chart(name);
  if (shade === 'plain') return colour;
  if (shade === 'strong') return mix(colour, theme.foreground, 0.45);
  return standingOut(mix(colour, theme.background, 0.4), theme.background, theme.foreground, 3);
}

export { cssColour };
