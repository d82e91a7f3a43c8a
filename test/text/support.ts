// Tokenizers and texts that the tests of this folder share.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { withUnicodeSpaces } from '../../src/formats/gpt2-pattern';
import { findNative } from '../../src/launch';
import type { BpeTokenizer, TokenizerAddon } from '../../native/binding/tokenizer';

export const SAMPLE_MODEL = 'samples/first-run/model';
/** Data that is not in the repository. */
export const SHARED = path.resolve('../shared/data');

export const addonFile = path.resolve(findNative().addon);
const addon = createRequire(addonFile)(addonFile) as TokenizerAddon;

// The parts of tokenizer.json that the tests change.
export interface TokenizerFile {
  added_tokens: { id: number; content: string; special?: boolean; normalized?: boolean; lstrip?: boolean }[];
  normalizer: unknown;
  pre_tokenizer: unknown;
  post_processor: unknown;
  decoder: unknown;
  model: {
    type: string;
    vocab: Record<string, number>;
    merges: string[] | [string, string][];
    unk_token?: string | null;
    fuse_unk?: boolean;
    byte_fallback?: boolean;
    ignore_merges?: boolean;
  };
}

export function readTokenizerFile(folder: string): TokenizerFile {
  return JSON.parse(readFileSync(path.join(folder, 'tokenizer.json'), 'utf8')) as TokenizerFile;
}

/** The two encoders of one tokenizer.json. */
export interface Pair {
  readonly name: string;
  readonly native: BpeTokenizer;
  readonly library: Tokenizer;
}

export function pairOf(name: string, file: TokenizerFile): Pair {
  const native = new addon.BpeTokenizer(Buffer.from(JSON.stringify(file)));
  return { name, native, library: new Tokenizer(withUnicodeSpaces(file) as object, {}) };
}

export function pairFrom(name: string, folder: string): Pair {
  return pairOf(name, readTokenizerFile(folder));
}

/** Reason for which the native encoder declines a file, or null. */
export function declines(json: Uint8Array): { code: string; message: string } | null {
  try {
    new addon.BpeTokenizer(json);
    return null;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  }
}

/** Tokenizers of ../shared that are there. */
export function sharedTokenizers(): Pair[] {
  const folders: [string, string][] = [
    ['llama2', 'tokenizers/llama2'],
    ['stories260K', 'models/stories260K'],
    ['babyllama936K', 'models/babyllama936K'],
    ['aidreams260K', 'models/aidreams260K'],
  ];
  return folders
    .map(([name, folder]) => [name, path.join(SHARED, folder)] as const)
    .filter(([, folder]) => existsSync(folder))
    .map(([name, folder]) => pairFrom(name, folder));
}

export const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
export const QWEN2_PATTERN = LLAMA3_PATTERN.replace('{1,3}', '');
export const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const split = (pattern: string, behavior = 'Isolated', invert = false) => ({
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior, invert }, byteLevel],
});
const digits = (individual: boolean) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Digits', individual_digits: individual },
    { ...byteLevel, use_regex: true },
  ],
});

const BORDER_MERGES = [
  ...['1 2', '12 3', '123 4', '3 4', '2 3', 'Ġ 1', 'x 1', '1 .'],
  ...['. Ċ', '.Ċ Ċ', '! Ċ', 'Ċ Ċ', 'Ġ Ċ', 'Ċ Ġ', 'č Ċ', 'č č', 'Ġ Ġ', 'ĠĠ Ġ', 'ĉ Ġ', 'Ġ ĉ', 'Ċ t', 'Ċ <'],
  ...["' s", "' S", 'S t', 's t', 'L t', "' t", "' L", "'s .", "s '", ". '", '( )', '" t', '" H', '_ x', 'Ġ "', '- -'],
];

/** The sample's byte-level vocabulary under every splitting rule that the native encoder knows, with added tokens that are found
 *  in text. */
export function byteLevelVariants(): Pair[] {
  const base = readTokenizerFile(SAMPLE_MODEL);
  const merges = [...(base.model.merges as string[])];
  const vocab = { ...base.model.vocab };
  let size = Math.max(...Object.values(vocab), ...base.added_tokens.map(({ id }) => id)) + 1;
  // Wherever the patterns disagree about a border, a merge over it makes the difference visible in the ids.
  for (const merge of BORDER_MERGES) {
    const product = merge.replace(' ', '');
    if (product in vocab) continue;
    merges.push(merge);
    vocab[product] = size++;
  }
  const extra = ['<|sep|>', '<|sep|><|sep|>', '<tool', '…end', 'Ġthe'];
  const withExtra: TokenizerFile = {
    ...base,
    added_tokens: [...base.added_tokens, ...extra.map((content, i) => ({ id: size + i, content, special: i < 2 }))],
    model: { ...base.model, vocab, merges },
  };
  // Found before the text is normalized; the Kelvin and Ohm signs compose to what two of these have.
  const literal = ['<|sep|>', '<tool', 'K', '\u03a9', '\u00e9!'].map((content, i) => ({
    id: size + i,
    content,
    special: true,
    normalized: false,
  }));
  const variant = (name: string, change: Partial<TokenizerFile>, model: Partial<TokenizerFile['model']> = {}) =>
    pairOf(name, { ...withExtra, ...change, model: { ...withExtra.model, ...model } });
  return [
    pairOf('sample', base),
    variant('gpt2', {}),
    variant('gpt2, prefix space', { pre_tokenizer: { ...byteLevel, use_regex: true, add_prefix_space: true } }),
    variant('gpt2 as Split', { pre_tokenizer: split(GPT2_PATTERN) }),
    variant('llama3', { pre_tokenizer: split(LLAMA3_PATTERN) }),
    variant('llama3, ignore_merges', { pre_tokenizer: split(LLAMA3_PATTERN) }, { ignore_merges: true }),
    variant('llama3, removed and inverted', { pre_tokenizer: split(LLAMA3_PATTERN, 'Removed', true) }),
    variant('qwen2', { pre_tokenizer: split(QWEN2_PATTERN) }),
    variant('qwen2, NFC', { normalizer: { type: 'NFC' }, pre_tokenizer: split(QWEN2_PATTERN), added_tokens: literal }),
    variant('digits', { pre_tokenizer: digits(false) }),
    variant('single digits', { pre_tokenizer: digits(true) }),
  ];
}

/** SentencePiece-style tokenizers, trained here on a piece of the sample's text: the usual ones and the odd ones. */
export function metaspaceVariants(): Pair[] {
  const text = readFileSync('samples/first-run/train.txt', 'utf8').slice(0, 20_000);
  const words = trainMerges(text.replaceAll(' ', '▁').split(/(?<!▁)(?=▁)/), 300);
  // Merges over word borders: no segment may end at a space that one of these reaches over.
  const phrases = trainMerges([text.replaceAll(' ', '▁').slice(0, 6_000)], 200);
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);

  const file = (
    merges: [string, string][],
    options: { fallback: boolean; change: Partial<TokenizerFile> },
  ): TokenizerFile => {
    const characters = [...new Set([...Array.from(merges.flat().join('')), '▁', 'é', '日'])].filter((c) => c !== '\n');
    const contents = ['<unk>', '<s>', '</s>', ...(options.fallback ? bytes : []), ...characters];
    const usable = merges.filter(([left, right]) => !`${left}${right}`.includes('\n'));
    contents.push(...usable.map(([left, right]) => left + right));
    const vocab = Object.fromEntries([...new Set(contents)].map((content, i) => [content, i]));
    return {
      added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
      normalizer: null,
      pre_tokenizer: null,
      post_processor: {
        type: 'TemplateProcessing',
        single: [
          { SpecialToken: { id: '<s>', type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { SpecialToken: { id: '</s>', type_id: 0 } },
        ],
      },
      decoder: null,
      model: {
        type: 'BPE',
        vocab,
        merges: usable,
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: options.fallback,
      },
      ...options.change,
    };
  };
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const prepend = { type: 'Prepend', prepend: '▁' };
  const llama = { normalizer: { type: 'Sequence', normalizers: [prepend, replace] } };
  const metaspace = (scheme: string) => ({
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: false },
  });
  // As the first conversions of LLaMA have it: special tokens are found in normalized text.
  const normalizedTokens = (tokenizer: TokenizerFile): TokenizerFile => ({
    ...tokenizer,
    added_tokens: tokenizer.added_tokens.map((token, i) => ({ ...token, normalized: i !== 2 })),
  });
  return [
    pairOf('llama2 style', file(words, { fallback: true, change: llama })),
    pairOf('without byte fallback', file(words, { fallback: false, change: llama })),
    pairOf('Replace alone', file(words, { fallback: false, change: { normalizer: replace } })),
    pairOf('llama1 style', normalizedTokens(file(words, { fallback: true, change: llama }))),
    pairOf('llama1 style, no fallback', normalizedTokens(file(words, { fallback: false, change: llama }))),
    pairOf(
      'llama1 style, Replace alone',
      normalizedTokens(file(words, { fallback: true, change: { normalizer: replace } })),
    ),
    pairOf('Metaspace always', file(words, { fallback: true, change: metaspace('always') })),
    pairOf('Metaspace first', file(words, { fallback: false, change: metaspace('first') })),
    pairOf('Metaspace never', file(words, { fallback: true, change: metaspace('never') })),
    pairOf('merges over spaces', file(phrases, { fallback: true, change: llama })),
    pairOf('merges over spaces, no fallback', file(phrases, { fallback: false, change: llama })),
  ];
}

/** The most frequent adjacent pairs, one after the other, as byte-pair encoding is trained. */
function trainMerges(words: readonly string[], count: number): [string, string][] {
  const split = words.map((word) => Array.from(word));
  const merges: [string, string][] = [];
  for (let i = 0; i < count; i++) {
    const counts = new Map<string, number>();
    for (const word of split) {
      for (let k = 0; k + 1 < word.length; k++) {
        const pair = `${word[k]!}\0${word[k + 1]!}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
    const [left, right] = best.split('\0') as [string, string];
    merges.push([left, right]);
    for (const word of split) {
      for (let k = 0; k + 1 < word.length; k++) {
        if (word[k] === left && word[k + 1] === right) word.splice(k, 2, left + right);
      }
    }
  }
  return merges;
}

/** Deterministic random numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fragments that sit at the corners of the splitting patterns. */
const FRAGMENTS = [
  ...[
    ' ',
    '  ',
    '   ',
    '\n',
    '\n\n',
    '\r\n',
    '\r',
    '\t',
    ' \n',
    '\n ',
    ' \t \n',
    '\u00a0',
    '\u0085',
    '\ufeff',
    '\u2003',
    '\u3000',
    '\u200b',
  ],
  ...["'s", "'S", "'t", "'LL", "'ll", "'re", "'vE", "'", "''", "'d.", 'ſ', "'ſ"],
  ...[
    'the',
    ' the',
    ' of',
    'Once upon',
    'naïve',
    'É',
    'e\u0301',
    'ß',
    'Ж',
    'привет',
    '日本語',
    '日',
    'é',
    '한국어',
    'ﬀ',
    'ñ',
    'İ',
  ],
  ...[
    'K',
    '\u212a',
    '\u2126',
    '\u03a9',
    '\u212b',
    '\uac01',
    '\uac00',
    '\u1112\u1161\u11ab',
    '\u1161',
    'a\u0323\u0302',
    'a\u0302\u0323',
    '\u0344',
    '\u0f73\u0f71',
    'क\u093c',
    '<\u0338',
    'é\u0301!',
    'e\u0301!',
    '\u0300',
    'U\u0308\u0304',
  ],
  ...['1', '12', '1234567', '٣', '½', 'Ⅷ', '²', '0x1F', '3.14'],
  ...['!', '?!', '...', '…', '---', '-->', '{', '}', '();', '\\', '<', '>', '"', '“', '_', '▁', '▁▁', ' ▁', '#', '$'],
  ...['😀', '👩‍👩‍👧', '🇩🇪', '🏽', '\u{10ffff}', '\u{e000}', '\ufffd', '\u0000', '\u007f', '\u{1d54f}', '\u{2f800}'],
  ...[
    '<s>',
    '</s>',
    '<unk>',
    '<s><s>',
    ' <s>',
    '▁<s>',
    ' <unk><s>',
    '<s> ',
    '<|end_of_text|>',
    '<|sep|>',
    '<|sep|><|sep|>',
    '<|se',
    '<tool',
    '<0x0A>',
    '…end',
    'Ġ',
  ],
  ...['if (x === 1) {\n    return y;\n}\n', 'for i in range(10):\n\tprint(i)\n', '\ud800', '\udc00'],
];

export function randomText(next: () => number, length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) {
    const kind = next();
    if (kind < 0.75) text += FRAGMENTS[Math.floor(next() * FRAGMENTS.length)]!;
    else if (kind < 0.85) text += String.fromCharCode(32 + Math.floor(next() * 95));
    else if (kind < 0.9) text += FRAGMENTS[Math.floor(next() * FRAGMENTS.length)]!.repeat(1 + Math.floor(next() * 40));
    else if (kind < 0.95) text += String.fromCodePoint(Math.floor(next() * 0x3000));
    else text += String.fromCodePoint(Math.floor(next() * 0x110000));
  }
  return text;
}

export function libraryIds(pair: Pair, text: string, addSpecialTokens = true): number[] {
  // Lone surrogates as UTF-8 files have them: U+FFFD.
  const wellFormed = Buffer.from(text, 'utf8').toString('utf8');
  return pair.library.encode(wellFormed, { add_special_tokens: addSpecialTokens }).ids;
}

export function nativeIds(pair: Pair, text: string, addSpecialTokens = true): number[] {
  return [...pair.native.encode(Buffer.from(text, 'utf8'), { addSpecialTokens })];
}
