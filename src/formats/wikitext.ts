// Rows of WikiText as the usual perplexity protocol joins them: the lines of wiki.test.raw, each with its line feed, where a
// line of one space (the file's empty line) is the empty row.

const EMPTY_LINE = Buffer.from(' \n');

/** The row of one line; `line` with its line feed. */
export function wikitextRow(line: Uint8Array): Uint8Array {
  return EMPTY_LINE.equals(line) ? new Uint8Array(0) : line;
}

/** The text whose tokens the protocol counts: all rows joined by a blank line. */
export function wikitextJoin(text: string): string {
  const lines = text.split('\n');
  // After the last line feed nothing follows: no row.
  const last = lines.pop() ?? '';
  const rows = lines.map((line) => (line === ' ' ? '' : `${line}\n`));
  if (last !== '') rows.push(last);
  return rows.join('\n\n');
}
