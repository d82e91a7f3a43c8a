// Numbers with their units, the same in the terminal and in every panel. Free of imports, so that a webview can use it.

/** `312 B`, `1.50 MiB`, `5.30 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? String(value) : value.toPrecision(value >= 100 ? 4 : 3)} ${units[unit] ?? ''}`;
}

/** `0.18`, `950`, `12.3 k`, `6.48 G`. */
export function formatCount(count: number): string {
  const units = ['', ' k', ' M', ' G', ' T'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  if (unit === 0) return value < 10 && !Number.isInteger(value) ? value.toPrecision(2) : String(Math.round(value));
  return `${value.toPrecision(3)}${units[unit] ?? ''}`;
}

/** `0.25 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toPrecision(2)} s`;
  const whole = Math.round(seconds);
  const pieces: [number, string][] = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  const first = pieces.findIndex(([amount]) => amount > 0);
  return pieces
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${String(amount)} ${unit}`)
    .join(' ');
}
