// Which tokenizer.json files the native encoder leaves to the library, and why; and the table of character classes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { SAMPLE_MODEL, declines, readTokenizerFile, type TokenizerFile } from './support';

const base = readTokenizerFile(SAMPLE_MODEL);

test('what is not done exactly is declined by name', () => {
  const declined = (change: Partial<TokenizerFile>, model: Partial<TokenizerFile['model']>, reason: RegExp): void => {
    const file = { ...base, ...change, model: { ...base.model, ...model } };
    const result = declines(Buffer.from(JSON.stringify(file)));
    assert.equal(result?.code, 'Unsupported', String(reason));
    assert.match(result.message, reason);
  };
  const added = { id: 7000, content: '<x>', special: false };
  declined({ normalizer: { type: 'NFKC' } }, {}, /^normalizer NFKC$/);
  declined({ normalizer: { type: 'Lowercase' } }, {}, /^normalizer Lowercase$/);
  declined({ pre_tokenizer: { type: 'Whitespace' } }, {}, /^pre-tokenizer Whitespace/);
  declined({ pre_tokenizer: null }, {}, /neither a pre-tokenizer nor/);
  declined(
    {
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: '\\d+' }, behavior: 'Isolated', invert: false },
          { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
        ],
      },
    },
    {},
    /pattern "\\d\+"/,
  );
  declined({ post_processor: { type: 'RobertaProcessing' } }, {}, /RobertaProcessing/);
  declined({ added_tokens: [{ ...added, lstrip: true }] }, {}, /<x>.*strips white space/);
  const spaced = { ...added, content: 'a b', normalized: false };
  declined({ normalizer: { type: 'NFC' }, added_tokens: [spaced] }, {}, /contains white space/);
  declined({}, { type: 'WordPiece' }, /model WordPiece/);
  declined({}, { unk_token: 'not there' }, /unknown token/);
  declined({}, { merges: ['zzzz qqqq'] }, /outside of the vocabulary/);
});

test('character classes: the native table is this JavaScript engine’s', (context) => {
  const table = readFileSync('native/tokenizer/unicode_ranges.inc', 'utf8');
  const version = /Unicode ([\d.]+)/.exec(table)?.[1];
  if (version !== process.versions.unicode) {
    context.skip(`table of Unicode ${String(version)}, this Node has ${String(process.versions.unicode)}`);
    return;
  }
  const classes = new Uint8Array(0x110000);
  for (const [, first, last, bits] of table.matchAll(/\{(\w+), (\w+), (\d+)\}/g)) {
    classes.fill(Number(bits), Number(first), Number(last) + 1);
  }
  const letter = /^\p{L}$/u;
  const number = /^\p{N}$/u;
  const whiteSpace = /^\p{White_Space}$/u;
  const classBits = 7;
  for (let codePoint = 0; codePoint < classes.length; codePoint++) {
    const text = String.fromCodePoint(codePoint);
    const bit = (pattern: RegExp, value: number): number => (pattern.test(text) ? value : 0);
    const expected = bit(letter, 1) | bit(number, 2) | bit(whiteSpace, 4);
    if (((classes[codePoint] ?? 0) & classBits) !== expected)
      assert.fail(`U+${codePoint.toString(16)} : run node scripts/unicode-tables.mjs`);
  }
  // JavaScript's \s says the opposite of both.
  assert.deepEqual([classes[0xfeff], classes[0x85]], [0, 4]);
});
