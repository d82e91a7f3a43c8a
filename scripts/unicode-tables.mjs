// Writes native/tokenizer/unicode_ranges.inc and normalization_tables.inc from this JavaScript engine's own Unicode data: the
// classes that the splitting patterns of tokenizers ask for and canonical composition (NFC), as @huggingface/tokenizers would see
// them here. Run it with the oldest supported Node and commit the result; test/text compares the tables with the engine that
// runs the tests.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './lib.mjs';

const LAST = 0x10ffff;
const codePoints = Array.from({ length: LAST + 1 }, (_, i) => i).filter((c) => c < 0xd800 || c > 0xdfff);
const text = (...values) => String.fromCodePoint(...values);
const points = (string) => Array.from(string, (character) => character.codePointAt(0));

// ── Normalization. Hangul syllables are computed, not tabled.
const isSyllable = (c) => c >= 0xac00 && c <= 0xd7a3;
const decompositions = codePoints
  .filter((c) => !isSyllable(c) && text(c).normalize('NFD') !== text(c))
  .map((c) => [c, points(text(c).normalize('NFD'))]);

// JavaScript does not tell combining classes, but it shows their order: two marks are swapped when the first has the higher
// class. U+0345 has the highest class of all, U+0334 the lowest.
const swaps = (a, b) => text(a, b).normalize('NFD') !== text(a, b);
const decomposes = new Set(decompositions.map(([c]) => c));
const marks = codePoints.filter((c) => !decomposes.has(c) && !isSyllable(c) && (swaps(0x345, c) || swaps(c, 0x334)));
marks.push(...[0x345, 0x334].filter((c) => !marks.includes(c)));
marks.sort((a, b) => (swaps(a, b) ? 1 : swaps(b, a) ? -1 : a - b));
const combiningClass = new Map();
let rank = 1;
marks.forEach((mark, i) => {
  if (i > 0 && swaps(mark, marks[i - 1])) rank++;
  combiningClass.set(mark, rank);
});

const compositions = [];
for (const [c, parts] of decompositions) {
  if (text(c).normalize('NFC') !== text(c)) continue;
  const second = parts.at(-1);
  const first = points(text(...parts.slice(0, -1)).normalize('NFC'));
  if (first.length !== 1 || text(first[0], second).normalize('NFC') !== text(c)) {
    throw new Error(`U+${c.toString(16)} is not composed of two`);
  }
  compositions.push([first[0], second, c]);
}
const seconds = new Set(compositions.map(([, second]) => second));
/** Whether NFC may change a text because of this code point: the others stay and begin anew. What a code point decomposes to
 *  first may join what stands before it as well. */
const mayChange = (c) => {
  const [first] = points(text(c).normalize('NFD'));
  return (
    combiningClass.has(first) ||
    seconds.has(first) ||
    (first >= 0x1161 && first <= 0x1175) ||
    (first >= 0x11a8 && first <= 0x11c2) ||
    text(c).normalize('NFC') !== text(c)
  );
};

/** Bits as in native/tokenizer/unicode.h. */
const classes = [
  [1, /^\p{L}$/u],
  [2, /^\p{N}$/u],
  [4, /^\p{White_Space}$/u],
];

const ranges = [];
for (const codePoint of codePoints) {
  const character = text(codePoint);
  const matched = classes.reduce((sum, [bit, pattern]) => sum | (pattern.test(character) ? bit : 0), 0);
  const bits = matched | (mayChange(codePoint) ? 8 : 0);
  if (bits === 0) continue;
  const last = ranges.at(-1);
  if (last !== undefined && last.bits === bits && last.end === codePoint - 1) last.end = codePoint;
  else ranges.push({ start: codePoint, end: codePoint, bits });
}

const hex = (value) => `0x${value.toString(16)}`;
const row = (values) => `{${values.map(hex).join(', ')}},`;

function lines(entries) {
  const result = [];
  let line = '';
  for (const entry of entries) {
    if (line.length + entry.length + 1 > 118) {
      result.push(line);
      line = entry;
    } else line = line === '' ? entry : `${line} ${entry}`;
  }
  return `${[...result, line].join('\n')}\n`;
}

function write(name, contents) {
  const banner = `// Written by scripts/unicode-tables.mjs (Unicode ${process.versions.unicode}); do not edit.\n`;
  writeFileSync(path.join(root, 'native', 'tokenizer', name), banner + contents);
}

write(
  'unicode_ranges.inc',
  lines(ranges.map(({ start, end, bits }) => `{${hex(start)}, ${hex(end)}, ${String(bits)}},`)),
);

const longest = Math.max(...decompositions.map(([, parts]) => parts.length));
const classRows = [...combiningClass].sort(([a], [b]) => a - b).map(row);
write(
  'normalization_tables.inc',
  [
    `constexpr size_t kLongestDecomposition = ${String(longest)};`,
    '// Code point, its full canonical decomposition (0: nothing more).',
    'constexpr std::array<char32_t, kLongestDecomposition + 1> kDecompositions[] = {',
    lines(decompositions.map(([c, parts]) => row([c, ...parts]))) + '};',
    '// Mark, its place in the order of combining classes.',
    'constexpr std::array<char32_t, 2> kCombiningClasses[] = {',
    lines(classRows) + '};',
    '// First, second, what they compose to.',
    'constexpr std::array<char32_t, 3> kCompositions[] = {',
    lines(compositions.map(row)) + '};\n',
  ].join('\n'),
);
