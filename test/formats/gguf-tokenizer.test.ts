// Tokenizers in the key-value pairs of GGUF: what llama.cpp's own converter writes for the families that are supported, in files as
// their publishers make them but with small vocabularies, and a refusal of everything else. The same with the real vocabularies and
// llama.cpp itself: test/clients/tokenizers.test.ts.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { UserError } from '../../src/errors';
import { ggufTokenizer, type TokenizerFiles } from '../../src/formats/gguf-tokenizer';
import { writeGguf } from '../../src/formats/gguf-file';
import { readGguf } from './gguf-reader';
import { temporaryFolder } from './support';

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LLAMA3 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const QWEN2 = LLAMA3.replace('{1,3}', '');

const byteLevel = (use_regex: boolean): object => ({ type: 'ByteLevel', add_prefix_space: false, use_regex });
const split = (Regex: string): object => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });
const sequence = (...pretokenizers: object[]): object => ({ type: 'Sequence', pretokenizers });
const special = (id: number, content: string): object => ({ id, content, special: true, normalized: false });
const before = (id: number, content: string): object => ({
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: content, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  special_tokens: { [content]: { id: content, ids: [id], tokens: [content] } },
});

const VOCAB = { a: 0, b: 1, ab: 2, Ġ: 3, Ġab: 4 };
const MERGES = ['a b', 'Ġ ab'];

interface Parts {
  readonly tokenizer: object;
  readonly config?: object;
  readonly model?: object;
  readonly chatTemplate?: string;
}

function files({ tokenizer, config = {}, model = {}, chatTemplate }: Parts): TokenizerFiles {
  return {
    tokenizer,
    tokenizerConfig: config as Record<string, unknown>,
    modelConfig: model as Record<string, unknown>,
    chatTemplate: chatTemplate ?? null,
    file: 'tokenizer.json',
  };
}

function pairsOf(parts: Parts, size: number): { pairs: Record<string, unknown>; warnings: readonly string[] } {
  const { pairs, warnings } = ggufTokenizer(files(parts), size);
  const entries = pairs.map(([key, { value }]) => [key.replace('tokenizer.', ''), plain(value)] as const);
  return { pairs: Object.fromEntries(entries), warnings };
}

const plain = (value: unknown): unknown =>
  value instanceof Int32Array || value instanceof Float32Array ? [...value] : value;

const byteBpe = (pre_tokenizer: object, changes: object = {}, model: object = {}): object => ({
  pre_tokenizer,
  normalizer: null,
  post_processor: null,
  added_tokens: [special(5, '<|begin_of_text|>'), special(6, '<|eot_id|>')],
  ...changes,
  model: { type: 'BPE', vocab: VOCAB, merges: MERGES, ...model },
});

test('GPT-2 and SmolLM: the step’s own pattern, digits apart or not', () => {
  assert.equal(pairsOf({ tokenizer: byteBpe(byteLevel(true)) }, 7).pairs['ggml.pre'], 'gpt-2');
  const digits = { type: 'Digits', individual_digits: true };
  const { pairs, warnings } = pairsOf({ tokenizer: byteBpe(sequence(digits, byteLevel(true))) }, 8);
  assert.deepEqual(pairs, {
    'ggml.model': 'gpt2',
    'ggml.pre': 'smollm',
    'ggml.tokens': ['a', 'b', 'ab', 'Ġ', 'Ġab', '<|begin_of_text|>', '<|eot_id|>', '[PAD7]'],
    // Normal, control, unused.
    'ggml.token_type': [1, 1, 1, 1, 1, 3, 3, 5],
    'ggml.merges': MERGES,
    'ggml.add_bos_token': false,
    'ggml.add_eos_token': false,
  });
  assert.deepEqual(warnings, []);
});

test('LLaMA 3: llama-bpe, the token before a text, the end of a turn, the template', () => {
  const tokenizer = byteBpe(
    sequence(split(LLAMA3), byteLevel(false)),
    { post_processor: { type: 'Sequence', processors: [byteLevel(true), before(5, '<|begin_of_text|>')] } },
    { ignore_merges: true },
  );
  const config = {
    bos_token: '<|begin_of_text|>',
    eos_token: { content: '<|eot_id|>' },
    chat_template: '{% for message in messages %}{{ message.content }}{% endfor %}',
  };
  const { pairs, warnings } = pairsOf({ tokenizer, config }, 7);
  assert.equal(pairs['ggml.pre'], 'llama-bpe');
  assert.deepEqual([pairs['ggml.bos_token_id'], pairs['ggml.eos_token_id']], [5, 6]);
  assert.deepEqual([pairs['ggml.add_bos_token'], pairs['ggml.add_eos_token']], [true, false]);
  assert.equal(pairs['chat_template'], config.chat_template);
  assert.deepEqual(warnings, []);
  // Without ignore_merges llama.cpp takes words whole that this tokenizer splits: never without a word.
  const merging = byteBpe(sequence(split(LLAMA3), byteLevel(false)));
  assert.match(pairsOf({ tokenizer: merging }, 7).warnings.join(), /takes whole words that are tokens/);
});

test('Qwen 2: qwen2, no token before a text, the end and the padding; NFC is said', () => {
  const tokenizer = byteBpe(sequence(split(QWEN2), byteLevel(false)), {
    normalizer: { type: 'NFC' },
    added_tokens: [
      special(5, '<|endoftext|>'),
      special(6, '<|im_end|>'),
      { id: 7, content: '<think>', special: false },
    ],
  });
  const config = { bos_token: null, eos_token: '<|im_end|>', pad_token: '<|endoftext|>', add_bos_token: false };
  const model = { bos_token_id: 5, eos_token_id: 6 };
  const { pairs, warnings } = pairsOf({ tokenizer, config, model, chatTemplate: 'of the file' }, 8);
  assert.equal(pairs['ggml.pre'], 'qwen2');
  const ids = ['bos', 'eos', 'padding'].map((name) => pairs[`ggml.${name}_token_id`]);
  assert.deepEqual(ids, [5, 6, 5]);
  assert.equal(pairs['ggml.add_bos_token'], false);
  assert.equal(pairs['chat_template'], 'of the file');
  // Found in any text, as the tokenizer.json does.
  assert.equal((pairs['ggml.token_type'] as number[])[7], 4);
  assert.deepEqual(warnings, ['llama.cpp does not bring text into normal form NFC as the tokenizer.json does']);
});

const SENTENCE_PIECE = {
  added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: before(1, '<s>'),
  model: {
    type: 'BPE',
    unk_token: '<unk>',
    byte_fallback: true,
    fuse_unk: true,
    vocab: { '<unk>': 0, '<s>': 1, '</s>': 2, '<0x0A>': 3, '▁a': 4, ab: 5, '▁ab': 6, '▁': 7, a: 8, b: 9 },
    merges: ['▁ a', 'a b', '▁ ab', '▁a b'],
  },
};

test('LLaMA 2 and Mistral: model llama, scores in the order of the merges, bytes, a space before a text', () => {
  const config = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', pad_token: null, add_bos_token: true };
  const { pairs, warnings } = pairsOf({ tokenizer: SENTENCE_PIECE, config }, 10);
  assert.deepEqual(pairs, {
    'ggml.model': 'llama',
    'ggml.pre': 'default',
    'ggml.tokens': Object.keys(SENTENCE_PIECE.model.vocab),
    'ggml.scores': [0, 0, 0, 0, -0, -1, -2, -5, -5, -5],
    // Unknown, control, byte, normal.
    'ggml.token_type': [2, 3, 3, 6, 1, 1, 1, 1, 1, 1],
    'ggml.add_space_prefix': true,
    'ggml.bos_token_id': 1,
    'ggml.eos_token_id': 2,
    'ggml.unknown_token_id': 0,
    'ggml.add_bos_token': true,
    'ggml.add_eos_token': false,
  });
  assert.deepEqual(warnings, []);
});

test('Mistral v0.3: Metaspace before the first word only, and tokens of the user’s own with spaces', () => {
  const tokenizer = {
    ...SENTENCE_PIECE,
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    added_tokens: [...SENTENCE_PIECE.added_tokens, { id: 10, content: '▁[x]', special: false }],
  };
  const { pairs, warnings } = pairsOf({ tokenizer }, 11);
  assert.equal(pairs['ggml.add_space_prefix'], true);
  assert.equal((pairs['ggml.tokens'] as string[])[10], ' [x]');
  assert.deepEqual(warnings, [
    'llama.cpp puts a space before a text that begins with one, the tokenizer.json does not',
    'llama.cpp puts a space before text that follows a special token, the tokenizer.json does not',
  ]);
});

test('merges in an order that scores cannot say are said', () => {
  const model = { ...SENTENCE_PIECE.model, merges: ['▁ a', '▁ ab', 'a b', '▁a b'] };
  const { warnings } = pairsOf({ tokenizer: { ...SENTENCE_PIECE, model } }, 10);
  assert.match(warnings.join(), /1 merges are out of order and 0 tokens come from no merge/);
});

test('several chat templates: the default one and the others by name', async (t) => {
  const config = {
    chat_template: [
      { name: 'default', template: 'plain' },
      { name: 'tool-use', template: 'with tools' },
    ],
  };
  const { pairs } = ggufTokenizer(files({ tokenizer: byteBpe(byteLevel(true)), config }), 7);
  const file = path.join(temporaryFolder(t), 'tokenizer.gguf');
  await writeGguf(file, new Map([['general.architecture', { type: 'string', value: 'llama' }], ...pairs]), []);
  const { metadata } = await readGguf(file);
  assert.equal(metadata['tokenizer.chat_template'], 'plain');
  assert.deepEqual(metadata['tokenizer.chat_templates'], ['tooluse']);
  assert.equal(metadata['tokenizer.chat_template.tooluse'], 'with tools');
});

test('whatever llama.cpp has no counterpart of is refused by name', () => {
  const refused: readonly (readonly [object, RegExp])[] = [
    [byteBpe(sequence(split('\\p{L}+'), byteLevel(false))), /the pre-tokenizer is none that llama\.cpp knows by name/],
    [byteBpe(sequence({ ...split(LLAMA3), behavior: 'Removed' }, byteLevel(false))), /the pre-tokenizer is none/],
    [byteBpe({ type: 'ByteLevel', add_prefix_space: true, use_regex: true }), /the pre-tokenizer is none/],
    [byteBpe(byteLevel(true), { normalizer: { type: 'Lowercase' } }), /normalizer "Lowercase" has no counterpart/],
    [byteBpe(byteLevel(true), {}, { end_of_word_suffix: '</w>' }), /model\.end_of_word_suffix is "<\/w>"/],
    [byteBpe(byteLevel(true), {}, { type: 'Unigram' }), /model\.type is "Unigram"; only BPE/],
    [byteBpe(byteLevel(true), {}, { vocab: { ...VOCAB, far: 700 } }), /token "far" has id 700, the model has 10 rows/],
    [{ ...SENTENCE_PIECE, normalizer: null }, /spaces are not replaced by ▁/],
    [{ ...SENTENCE_PIECE, pre_tokenizer: { type: 'Whitespace' } }, /pre-tokenizer "Whitespace" has no counterpart/],
  ];
  for (const [tokenizer, message] of refused) {
    assert.throws(
      () => ggufTokenizer(files({ tokenizer }), 10),
      (error: unknown) =>
        error instanceof UserError && error.code === 'TokenizerUnsupported' && message.test(error.message),
      String(message),
    );
  }
});
