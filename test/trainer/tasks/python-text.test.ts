// Texts as Python makes them, character by character, against Python itself (any python3 will do; LRQAT_PYTHON names another).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { withoutMarkup } from '../../../src/trainer/tasks/definitions';
import { capitalize, strip, stripEnd, withoutBrackets } from '../../../src/trainer/tasks/python-text';

const PYTHON = process.env['LRQAT_PYTHON'] ?? 'python3';
// Before 3.8 str.capitalize() made upper case.
const asked = ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))'];
const skip = spawnSync(PYTHON, asked).status === 0 ? false : `${PYTHON} is absent or older than 3.8`;

test('blanks are those of Python', () => {
  assert.equal(strip('\ufeff\x85 a \x1f\u3000'), '\ufeff\x85 a', 'a byte order mark is a character');
  assert.equal(strip('\x85\x1c\x1d\x1e\x1f\xa0a\u2028\u2029'), 'a');
  assert.equal(stripEnd(' a\x85\n'), ' a');
  assert.equal(stripEnd(' a\u200b\u180e'), ' a\u200b\u180e', 'characters without width are no blanks');
  assert.equal(strip(' \n\t'), '');
});

test('brackets go over every line end but the line feed', () => {
  assert.equal(withoutBrackets('a[x\u2028y]b[\r]c[\n]d[e'), 'abc[\n]d[e');
  assert.equal(withoutMarkup(' Pick a [title] pan.  [substeps]  Heat \x85'), 'Pick a. pan.  Heat');
});

test('the first character is in title case, the others in lower case', () => {
  const table: readonly (readonly [string, string])[] = [
    ['', ''],
    ['tHEN he', 'Then he'],
    ['\u01c4A', '\u01c5a'],
    ['ßA', 'Ssa'],
    ['\ufb01sh', 'Fish'],
    ['\u10d0\u10d1', '\u10d0\u10d1'],
    ['ΑΣ', 'Ας'],
    ['\u1f80x', '\u1f88x'],
    ['𐐨𐐀', '𐐀𐐨'],
  ];
  for (const [text, expected] of table) assert.equal(capitalize(text), expected, JSON.stringify(text));
});

/** Every character but private ones and those of East Asia's large blocks, which have no cases: first, inside and last. */
const SCRIPT = `
import json, re, sys, unicodedata
out = []
for c in range(0x110000):
    if unicodedata.category(chr(c)) in ('Cn', 'Co', 'Cs') or 0x3400 <= c <= 0x9FFF or 0xAC00 <= c <= 0xD7FF or 0x17000 <= c <= 0x18FFF or c >= 0x20000: continue
    s = chr(c)
    text = re.sub(r'\\[.*?\\]', '', (s + '[' + s + ']a' + s).strip().replace(' [title]', '. ')).replace('  ', ' ')
    out.append([c, text, (s + 'A').capitalize(), ('a' + s).rstrip()])
json.dump(out, sys.stdout)
`;

test('every character of Unicode as Python has it', { skip }, () => {
  const { stdout, status, stderr } = spawnSync(PYTHON, ['-c', SCRIPT], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  assert.equal(status, 0, stderr);
  const rows = JSON.parse(stdout) as [number, string, string, string][];
  assert.ok(rows.length > 20_000);
  const known = new Set(rows.map(([code]) => code));
  const wrong = rows.filter(([code, text, capital, end]) => {
    const s = String.fromCodePoint(code);
    // Capitals that only the younger Unicode of one of the two has.
    if (/\p{Cn}/u.test(capital) || [...s.toUpperCase()].some((capitalOf) => !known.has(capitalOf.codePointAt(0) ?? 0)))
      return false;
    return withoutMarkup(`${s}[${s}]a${s}`) !== text || capitalize(`${s}A`) !== capital || stripEnd(`a${s}`) !== end;
  });
  assert.deepEqual(
    wrong.map(([code]) => code.toString(16)),
    [],
  );
});
