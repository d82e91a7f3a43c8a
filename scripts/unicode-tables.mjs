// Writes native/tokenizer/unicode_ranges.inc from this JavaScript engine's own Unicode data: the classes that the splitting
// patterns of tokenizers ask for, as @huggingface/tokenizers would see them here. Run it with the oldest supported Node and
// commit the result; test/text/unicode.test.ts compares the table with the engine that runs the tests.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './lib.mjs';

/** Bits as in native/tokenizer/unicode.h. */
const classes = [
  [1, /^\p{L}$/u],
  [2, /^\p{N}$/u],
  [4, /^\s$/u],
  [8, /^\p{White_Space}$/u],
];

const ranges = [];
for (let codePoint = 0; codePoint <= 0x10ffff; codePoint++) {
  const text = String.fromCodePoint(codePoint);
  const bits = classes.reduce((sum, [bit, pattern]) => sum | (pattern.test(text) ? bit : 0), 0);
  if (bits === 0) continue;
  const last = ranges.at(-1);
  if (last !== undefined && last.bits === bits && last.end === codePoint - 1) last.end = codePoint;
  else ranges.push({ start: codePoint, end: codePoint, bits });
}

const hex = (value) => `0x${value.toString(16)}`;
const lines = [];
let line = '';
for (const { start, end, bits } of ranges) {
  const entry = `{${hex(start)}, ${hex(end)}, ${String(bits)}},`;
  if (line.length + entry.length + 1 > 118) {
    lines.push(line);
    line = entry;
  } else line = line === '' ? entry : `${line} ${entry}`;
}
lines.push(line);

writeFileSync(
  path.join(root, 'native', 'tokenizer', 'unicode_ranges.inc'),
  `// Written by scripts/unicode-tables.mjs (Unicode ${process.versions.unicode}); do not edit.\n${lines.join('\n')}\n`,
);
