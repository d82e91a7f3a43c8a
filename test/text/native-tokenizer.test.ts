// The native encoder against @huggingface/tokenizers, id by id, and against itself in parts.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import {
  SHARED,
  byteLevelVariants,
  libraryIds,
  metaspaceVariants,
  nativeIds,
  pairOf,
  random,
  randomText,
  readTokenizerFile,
  sharedTokenizers,
  type Pair,
} from './support';

const pairs: readonly Pair[] = [...byteLevelVariants(), ...metaspaceVariants(), ...sharedTokenizers()];

/** The shortest differing text is what a person wants to see. */
function shrink(pair: Pair, text: string): string {
  const differs = (candidate: string): boolean =>
    JSON.stringify(nativeIds(pair, candidate)) !== JSON.stringify(libraryIds(pair, candidate));
  let shortest = text;
  for (let changed = true; changed;) {
    changed = false;
    const characters = Array.from(shortest);
    for (
      let width = Math.ceil(characters.length / 2);
      width >= 1 && !changed;
      width = width === 1 ? 0 : Math.ceil(width / 2)
    ) {
      for (let i = 0; i + width <= characters.length && !changed; i += width) {
        const candidate = [...characters.slice(0, i), ...characters.slice(i + width)].join('');
        if (!differs(candidate)) continue;
        shortest = candidate;
        changed = true;
      }
    }
  }
  return shortest;
}

function assertSame(pair: Pair, given: string): void {
  // What these two are to JavaScript's own \s, the library cannot be told with a space before the text (gpt2-pattern.ts).
  const text = pair.name === 'gpt2, prefix space' ? given.replaceAll(/[\u0085\ufeff]/g, '') : given;
  const native = nativeIds(pair, text);
  const library = libraryIds(pair, text);
  if (JSON.stringify(native) === JSON.stringify(library)) return;
  const short = shrink(pair, text);
  assert.deepEqual(nativeIds(pair, short), libraryIds(pair, short), `${pair.name}: ${JSON.stringify(short)}`);
}

const RUST_IDS: readonly (readonly [text: string, ids: number[]])[] = [
  ['\n\n\ufeffThe', [200, 200, 1597, 489]],
  ['\n\n\u0085x', [4096, 128, 229, 89]],
  ['\n\n\n\u0085', [4096, 200, 128, 229]],
  ['a\ufeff\n\nb', [66, 1597, 200, 200, 67]],
  ['a\u0085\n\nb', [66, 128, 229, 200, 200, 67]],
];

test('U+FEFF and U+0085 are what they are to the tokenizers that models are trained with', () => {
  // Ids by Hugging Face tokenizers 0.23.2 (Rust) for the sample, with a token for two line breaks.
  const file = readTokenizerFile('samples/first-run/model');
  const vocab = { ...file.model.vocab, ĊĊ: 4096 };
  const merges = [...(file.model.merges as string[]), 'Ċ Ċ'];
  const pair = pairOf('two line breaks', { ...file, model: { ...file.model, vocab, merges } });
  for (const [text, ids] of RUST_IDS) {
    assert.deepEqual(nativeIds(pair, text, false), ids, JSON.stringify(text));
    assert.deepEqual(libraryIds(pair, text, false), ids, JSON.stringify(text));
  }
});

for (const pair of pairs) {
  test(`${pair.name}: ids of the library for random texts`, () => {
    const next = random(1);
    assert.deepEqual(nativeIds(pair, ''), libraryIds(pair, ''), 'empty text');
    for (let i = 0; i < 400; i++) assertSame(pair, randomText(next, 1 + Math.floor(next() * 30)));
    // Long runs: the heap of long words, words beyond the cache.
    for (const unit of ['a', ' ', '\n', 'ab', '日', '😀', '\u0000', '-=', "'s"]) assertSame(pair, unit.repeat(500));
  });

  test(`${pair.name}: ids of the library for every character of the first planes, in context`, () => {
    const next = random(2);
    for (let first = 0; first < 0x3000; first += 256) {
      let text = '';
      for (let i = 0; i < 256; i++) text += `${String.fromCodePoint(first + i)}${next() < 0.5 ? ' x' : ''}`;
      assertSame(pair, text);
    }
  });

  test(`${pair.name}: at every split point the two parts give the ids of the whole text`, () => {
    const next = random(3);
    let cuts = 0;
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(`${randomText(next, 40)} some words and\nlines of text, `, 'utf8');
      const whole = [...pair.native.encode(bytes, { addSpecialTokens: false })];
      for (const at of characterStarts(bytes).slice(1)) {
        // As a reader of a long file has it: what stands before, the character at the split, and nothing of what comes later.
        const seen = bytes.subarray(0, at + characterLength(bytes, at));
        if (pair.native.lastSplit(seen) !== at) continue;
        const left = pair.native.encodePart(seen, 0, at, true);
        const right = pair.native.encodePart(bytes.subarray(at), 0, bytes.length - at, false);
        const place = `${JSON.stringify(bytes.toString('utf8', 0, at))} | ${JSON.stringify(bytes.toString('utf8', at))}`;
        assert.deepEqual([...left, ...right], whole, `${pair.name}: ${place}`);
        cuts++;
      }
    }
    assert.ok(cuts > 1000, `${String(cuts)} split points are too few to test anything`);
  });

  test(`${pair.name}: many parts, each found without what is before it`, () => {
    const next = random(4);
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(`${randomText(next, 60)} some words and\nlines of text, `, 'utf8');
      const whole = [...pair.native.encode(bytes, { addSpecialTokens: false })];
      const starts = [...characterStarts(bytes), bytes.length];
      const parts: number[] = [];
      let begin = 0;
      while (begin < bytes.length) {
        // A window of random length; a longer one when it holds no split point.
        const ends = starts.filter((at) => at > begin);
        let width = Math.floor(next() * 40);
        let end = 0;
        while (end === 0) {
          const windowEnd = ends[Math.min(width, ends.length - 1)]!;
          if (windowEnd === bytes.length) end = bytes.length;
          else end = pair.native.lastSplit(bytes.subarray(begin, windowEnd));
          if (end > 0 && end < bytes.length) end += begin;
          width = 2 * width + 1;
        }
        const visible = end === bytes.length ? end : end + characterLength(bytes, end);
        parts.push(...pair.native.encodePart(bytes.subarray(begin, visible), 0, end - begin, begin === 0));
        begin = end;
      }
      assert.deepEqual(parts, whole, `${pair.name}: ${JSON.stringify(bytes.toString('utf8'))}`);
    }
  });
}

function characterStarts(bytes: Buffer): number[] {
  return [...bytes.keys()].filter((at) => (bytes[at]! & 0xc0) !== 0x80);
}

function characterLength(bytes: Buffer, at: number): number {
  const lead = bytes[at]!;
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

test('special tokens: the post-processor’s around the text, or none', () => {
  const llama = pairs.find(({ name }) => name === 'llama2 style')!;
  assert.deepEqual(nativeIds(llama, 'a b', true), libraryIds(llama, 'a b', true));
  assert.deepEqual(nativeIds(llama, 'a b', false), libraryIds(llama, 'a b', false));
  assert.deepEqual([...llama.native.prefixIds], [1]);
  assert.deepEqual([...llama.native.suffixIds], [2]);
  assert.equal(llama.native.idOf('</s>'), 2);
  assert.equal(llama.native.idOf('no such token'), -1);
});

test('text that is not UTF-8 is an error with its place', () => {
  const [pair] = pairs;
  const failing = (bytes: number[], message: RegExp): void =>
    assert.throws(() => pair!.native.encode(Uint8Array.from(bytes)), { code: 'InvalidArgument', message });
  failing([0x61, 0x80], /byte 1/);
  failing([0x61, 0x62, 0xe2, 0x96], /byte 2/);
  failing([0xed, 0xa0, 0x80], /byte 0/);
  failing([0xc0, 0x80], /byte 0/);
  failing([0xf4, 0x90, 0x80, 0x80], /byte 0/);
  assert.throws(() => pair!.native.encode('text' as unknown as Uint8Array), { code: 'InvalidArgument' });
});

test('real texts: ids of the library', { skip: existsSync(SHARED) ? false : 'no ../shared/data here' }, () => {
  const texts = [
    'c4/c4_sample.jsonl',
    'shakespeare/tinyshakespeare.txt',
    'wikipedia/wiki_demo.txt',
    'books/open_domain_books.jsonl',
  ];
  for (const pair of pairs.filter(({ name }) => ['sample', 'llama3', 'llama2', 'stories260K'].includes(name))) {
    for (const text of texts) {
      assertSame(pair, readFileSync(path.join(SHARED, 'text', text), 'utf8').slice(0, 30_000));
    }
  }
});

interface ReferenceEncodings {
  texts: string[];
  ids: Record<string, number[][]>;
}

test(
  'reference encodings of the llama2.c encoder',
  { skip: existsSync(path.join(SHARED, 'tokenizers')) ? false : 'no ../shared/data here' },
  () => {
    const file = path.join(SHARED, 'tokenizers', 'reference_encodings.json');
    const reference = JSON.parse(readFileSync(file, 'utf8')) as ReferenceEncodings;
    let checked = 0;
    for (const pair of sharedTokenizers()) {
      const expected = reference.ids[pair.name];
      if (expected === undefined) continue;
      reference.texts.forEach((text, i) =>
        assert.deepEqual(nativeIds(pair, text), expected[i], `${pair.name}: ${text}`),
      );
      checked++;
    }
    assert.ok(checked >= 3, `only ${String(checked)} tokenizers have reference encodings`);
  },
);

test('NFC: every code point with marks, Hangul and itself, and long runs of marks', () => {
  const pair = pairs.find(({ name }) => name === 'qwen2, NFC')!;
  const plain = pairs.find(({ name }) => name === 'qwen2')!;
  const next = random(5);
  const marks = [
    '\u0301',
    '\u0323',
    '\u0334',
    '\u0345',
    '\u3099',
    '\u093c',
    '\u0f71',
    '\u1161',
    '\u11a8',
    '\u0338',
    '\u05b0',
  ];
  const bytesOf = (text: string): number[] => nativeIds(pair, text, false);
  const some = (): string => marks[Math.floor(next() * marks.length)]!;
  for (let first = 0; first < 0x110000; first += 64) {
    // Not the surrogates, nor what is or becomes K or Ω, which are added tokens of the one and not of the other.
    if ((first >= 0xd800 && first < 0xe000) || [0x40, 0x380, 0x2100].includes(first)) continue;
    let text = '';
    for (let i = 0; i < 64; i++) {
      text += String.fromCodePoint(first + i);
      for (let count = Math.floor(next() * 3); count > 0; count--) text += some();
    }
    // Without NFC the same vocabulary shows what text it is given.
    assert.deepEqual(bytesOf(text), nativeIds(plain, text.normalize('NFC'), false), `from U+${first.toString(16)}`);
  }
  for (let i = 0; i < 500; i++) {
    const text = Array.from({ length: 40 }, () =>
      next() < 0.7 ? some() : 'ae가각한ᄒA'[Math.floor(next() * 7)]!,
    ).join('');
    assert.deepEqual(bytesOf(text), libraryIds(pair, text, false), JSON.stringify(text));
  }
});
