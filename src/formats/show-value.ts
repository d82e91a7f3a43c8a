// Untrusted values in messages.

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A JSON value in a message, cut short. Nested values are not written out: a hostile file may nest them past any stack. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return quote(value);
  if (Array.isArray(value)) {
    const shown = value.slice(0, 8).map((item: unknown) => (typeof item === 'object' ? '…' : showValue(item)));
    return `[${shown.join(', ')}${value.length > 8 ? ', …' : ''}]`;
  }
  if (isObject(value)) {
    const keys = Object.keys(value)
      .slice(0, 4)
      .map((key) => shorten(key));
    return `{${keys.join(', ')}…}`;
  }
  // Numbers, true, false, null; 1e400 is an infinite number, which JSON would call null.
  return typeof value === 'number' ? String(value) : JSON.stringify(value);
}

/** A string in quotes, cut short. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

/** A text of a file in a message or an excerpt: without characters that a terminal would obey. As long as before. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- these are what must not reach a terminal
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '\ufffd');
}

export function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
