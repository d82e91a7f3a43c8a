// Arithmetic on colours (sRGB, 0 to 255) and the contrast of WCAG 2.2.

export type Rgb = readonly [number, number, number];

/** `#rrggbb`, `#rgb`, `rgb(…)`, `rgba(…)`: the forms that a canvas and a computed style give. Transparent ones are laid over
 *  `background`. null: something else. */
export function parseColour(text: string, background: Rgb = [0, 0, 0]): Rgb | null {
  const hex = /^#([0-9a-f]{3,8})$/i.exec(text.trim())?.[1];
  if (hex !== undefined) {
    const wide = hex.length <= 4 ? hex.replaceAll(/./g, '$&$&') : hex;
    const parts = (wide.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
    return over(parts, (parts[3] ?? 255) / 255, background);
  }
  const numbers = /^rgba?\(([^)]*)\)$/i
    .exec(text.trim())?.[1]
    ?.split(/[\s,/]+/)
    .map(parseFloat);
  return numbers === undefined || numbers.some(Number.isNaN) ? null : over(numbers, numbers[3] ?? 1, background);
}

function over(parts: readonly number[], alpha: number, background: Rgb): Rgb | null {
  const [red, green, blue] = parts;
  if (red === undefined || green === undefined || blue === undefined) return null;
  return mix(background, [red, green, blue], alpha);
}

/** `share` 0: `from`, 1: `to`. */
export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const part = (a: number, b: number) => a + (b - a) * share;
  return [part(from[0], to[0]), part(from[1], to[1]), part(from[2], to[2])];
}

export function cssColour(colour: Rgb, alpha = 1): string {
  const [red, green, blue] = colour.map(Math.round);
  return `rgba(${String(red)}, ${String(green)}, ${String(blue)}, ${String(alpha)})`;
}

/** 1 (none) to 21. */
export function contrast(a: Rgb, b: Rgb): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function luminance(colour: Rgb): number {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
}

/** `colour`, drawn towards `foreground` as far as it must be to stand out from `background` by `least`. */
export function standingOut(colour: Rgb, background: Rgb, foreground: Rgb, least: number): Rgb {
  for (let share = 0; share < 1; share += 0.05) {
    const mixed = mix(colour, foreground, share);
    if (contrast(mixed, background) >= least) return mixed;
  }
  return foreground;
}
