// tokenizer.json → the key-value pairs from which llama.cpp builds the same tokenizer. Byte-level BPE becomes its model `gpt2` with
// the name of a pre-tokenizer it knows; BPE over characters with ▁ for spaces (SentencePiece) becomes its model `llama`, which merges
// by scores of tokens instead of a list of merges.
import { UserError } from '../errors';
import type { GgufValue } from './gguf-file';
import { bool, string, u32 } from './gguf-metadata';
import { isObject, showValue } from './show-value';

export interface TokenizerFiles {
  /** tokenizer.json, parsed. */
  readonly tokenizer: unknown;
  /** tokenizer_config.json and config.json; `{}` when absent. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
  readonly modelConfig: Readonly<Record<string, unknown>>;
  /** chat_template.jinja or the key of chat_template.json, which newer folders have instead of one of tokenizer_config.json. */
  readonly chatTemplate: string | null;
  /** Of tokenizer.json, for messages. */
  readonly file: string;
}

export interface GgufTokenizer {
  readonly pairs: [string, GgufValue][];
  /** Texts that llama.cpp will not tokenize as the tokenizer.json does. */
  readonly warnings: string[];
}

type Json = Readonly<Record<string, unknown>>;

/** llama_token_type. */
const TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** @param vocabSize rows of the embedding; ids without a token are filled up
 *  @throws UserError TokenizerUnsupported for what llama.cpp has no counterpart of */
export function ggufTokenizer(files: TokenizerFiles, vocabSize: number): GgufTokenizer {
  const root = files.tokenizer;
  const model = isObject(root) ? root['model'] : undefined;
  if (!isObject(root) || !isObject(model)) throw unsupported(files, 'has no model');
  if (model['type'] !== undefined && model['type'] !== 'BPE') {
    throw unsupported(files, `model.type is ${showValue(model['type'])}; only BPE can be carried over`);
  }
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'] as const) {
    if (typeof model[key] === 'string' && model[key] !== '') {
      throw unsupported(files, `model.${key} is ${showValue(model[key])}, which llama.cpp does not know`);
    }
  }
  const vocabulary = readVocabulary(files, root, model, vocabSize);
  const merges = readMerges(files, model);
  const warnings: string[] = [];
  const pairs = isByteLevel(root)
    ? byteLevelPairs(files, root, model, vocabulary, merges, warnings)
    : sentencePiecePairs(files, root, model, vocabulary, merges, warnings);
  return { pairs: [...pairs, ...specialPairs(files, root, vocabulary)], warnings };
}

interface Vocabulary {
  /** By id. */
  readonly tokens: string[];
  readonly types: Int32Array;
  readonly ids: ReadonlyMap<string, number>;
}

function readVocabulary(files: TokenizerFiles, root: Json, model: Json, size: number): Vocabulary {
  const vocab = model['vocab'];
  if (!isObject(vocab)) throw unsupported(files, `model.vocab is ${showValue(vocab)}, must be an object`);
  const tokens: (string | undefined)[] = Array.from({ length: size });
  const types = new Int32Array(size).fill(TYPE.normal);
  const ids = new Map<string, number>();
  const place = (token: unknown, id: unknown, type: number): void => {
    if (typeof token !== 'string' || typeof id !== 'number' || !Number.isInteger(id) || id < 0) {
      throw unsupported(files, `token ${showValue(token)} has id ${showValue(id)}`);
    }
    if (id >= size) {
      throw unsupported(files, `token ${showValue(token)} has id ${String(id)}, the model has ${String(size)} rows`);
    }
    tokens[id] = token;
    types[id] = type;
    ids.set(token, id);
  };
  for (const [token, id] of Object.entries(vocab)) place(token, id, TYPE.normal);
  const added = Array.isArray(root['added_tokens']) ? root['added_tokens'] : [];
  for (const entry of added as unknown[]) {
    if (!isObject(entry)) throw unsupported(files, `added_tokens has ${showValue(entry)}`);
    place(entry['content'], entry['id'], entry['special'] === true ? TYPE.control : TYPE.userDefined);
  }
  const unknown = typeof model['unk_token'] === 'string' ? ids.get(model['unk_token']) : undefined;
  if (unknown !== undefined) types[unknown] = TYPE.unknown;
  return {
    ids,
    types,
    tokens: tokens.map((token, id) => {
      if (token !== undefined) return token;
      types[id] = TYPE.unused;
      return `[PAD${String(id)}]`;
    }),
  };
}

type Merge = readonly [string, string];

function readMerges(files: TokenizerFiles, model: Json): Merge[] {
  const merges = model['merges'];
  if (!Array.isArray(merges)) throw unsupported(files, `model.merges is ${showValue(merges)}, must be an array`);
  return merges.map((merge: unknown): Merge => {
    const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(parts) || parts.length !== 2) throw unsupported(files, `model.merges has ${showValue(merge)}`);
    const [left, right] = parts as unknown[];
    if (typeof left !== 'string' || typeof right !== 'string') {
      throw unsupported(files, `model.merges has ${showValue(merge)}`);
    }
    return [left, right];
  });
}

/** Steps of a pre-tokenizer or normalizer; a sequence is opened. */
function steps(value: unknown, key: 'pretokenizers' | 'normalizers' | 'processors'): Json[] {
  if (!isObject(value)) return [];
  const list = value['type'] === 'Sequence' ? value[key] : [value];
  return Array.isArray(list) ? list.filter(isObject) : [];
}

function isByteLevel(root: Json): boolean {
  return steps(root['pre_tokenizer'], 'pretokenizers').some(({ type }) => type === 'ByteLevel');
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LETTERS = '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+';
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
/** Regular expressions of `Split` by llama.cpp's name for them. */
const SPLITS: ReadonlyMap<string, string> = new Map([
  [`${CONTRACTIONS}|${LETTERS}|\\p{N}{1,3}|${REST}`, 'llama-bpe'],
  [`${CONTRACTIONS}|${LETTERS}|\\p{N}|${REST}`, 'qwen2'],
]);

function byteLevelPairs(
  files: TokenizerFiles,
  root: Json,
  model: Json,
  { tokens, types }: Vocabulary,
  merges: readonly Merge[],
  warnings: string[],
): [string, GgufValue][] {
  const pre = preTokenizerName(files, root);
  for (const { type } of steps(root['normalizer'], 'normalizers')) {
    if (type !== 'NFC') throw unsupported(files, `normalizer ${showValue(type)} has no counterpart in llama.cpp`);
    warnings.push('llama.cpp does not bring text into normal form NFC as the tokenizer.json does');
  }
  // Only its llama-bpe takes words that are tokens as they are, whatever the merges say.
  if ((model['ignore_merges'] === true) !== (pre === 'llama-bpe')) {
    warnings.push(
      `llama.cpp ${pre === 'llama-bpe' ? 'takes whole words that are tokens' : 'follows the merges'}, the tokenizer.json does not (ignore_merges): rare words can split differently`,
    );
  }
  return [
    ['tokenizer.ggml.model', string('gpt2')],
    ['tokenizer.ggml.pre', string(pre)],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    ['tokenizer.ggml.merges', { type: 'strings', value: merges.map(([left, right]) => `${left} ${right}`) }],
  ];
}

function preTokenizerName(files: TokenizerFiles, root: Json): string {
  const list = steps(root['pre_tokenizer'], 'pretokenizers');
  const [first, second] = list;
  const byteLevel = list.at(-1);
  if (byteLevel?.['type'] === 'ByteLevel' && byteLevel['add_prefix_space'] !== true && list.length <= 2) {
    const ownSplit = byteLevel['use_regex'] !== false;
    if (list.length === 1 && ownSplit) return 'gpt-2';
    if (first?.['type'] === 'Digits' && first['individual_digits'] === true && ownSplit) return 'smollm';
    const pattern = first?.['pattern'];
    const regex = isObject(pattern) ? pattern['Regex'] : undefined;
    if (second !== undefined && !ownSplit && first?.['type'] === 'Split' && typeof regex === 'string') {
      const name = SPLITS.get(regex);
      if (name !== undefined && first['behavior'] === 'Isolated' && first['invert'] !== true) return name;
    }
  }
  throw unsupported(
    files,
    `the pre-tokenizer is none that llama.cpp knows by name (known here: gpt-2, llama-bpe, qwen2, smollm)`,
  );
}

const SPACE = '▁';

function sentencePiecePairs(
  files: TokenizerFiles,
  root: Json,
  model: Json,
  vocabulary: Vocabulary,
  merges: readonly Merge[],
  warnings: string[],
): [string, GgufValue][] {
  const { tokens, types } = vocabulary;
  const prefix = spacePrefix(files, root, warnings);
  // Of tokens that are found in a text as they are, llama.cpp wants the spaces of the text.
  const texts = tokens.map((token, id) => (types[id] === TYPE.userDefined ? token.replaceAll(SPACE, ' ') : token));
  if (model['byte_fallback'] === true) {
    for (const [id, token] of tokens.entries()) if (/^<0x[0-9A-F]{2}>$/.test(token)) types[id] = TYPE.byte;
  } else {
    warnings.push('the vocabulary has no byte tokens: llama.cpp cannot tokenize characters outside of it');
  }
  return [
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.pre', string('default')],
    ['tokenizer.ggml.tokens', { type: 'strings', value: texts }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: scoresOf(vocabulary, merges, warnings) }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    ['tokenizer.ggml.add_space_prefix', bool(prefix)],
  ];
}

/** Whether a text gets a space before it; refuses what else would happen to it. */
function spacePrefix(files: TokenizerFiles, root: Json, warnings: string[]): boolean {
  let replaced = false;
  let prefix = false;
  for (const step of steps(root['normalizer'], 'normalizers')) {
    const pattern = step['pattern'];
    if (step['type'] === 'Prepend' && step['prepend'] === SPACE) prefix = true;
    else if (
      step['type'] === 'Replace' &&
      isObject(pattern) &&
      pattern['String'] === ' ' &&
      step['content'] === SPACE
    ) {
      replaced = true;
    } else throw unsupported(files, `normalizer ${showValue(step['type'])} has no counterpart in llama.cpp`);
  }
  for (const step of steps(root['pre_tokenizer'], 'pretokenizers')) {
    if (step['type'] !== 'Metaspace' || (step['replacement'] ?? SPACE) !== SPACE) {
      throw unsupported(files, `pre-tokenizer ${showValue(step['type'])} has no counterpart in llama.cpp`);
    }
    replaced = true;
    const scheme = step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always');
    if (scheme !== 'never') {
      prefix = true;
      warnings.push('llama.cpp puts a space before a text that begins with one, the tokenizer.json does not');
    }
    if (scheme === 'first') {
      warnings.push('llama.cpp puts a space before text that follows a special token, the tokenizer.json does not');
    }
    if (step['split'] !== false) {
      warnings.push('llama.cpp may join tokens over the borders of words, which the tokenizer.json does not');
    }
  }
  if (!replaced) throw unsupported(files, 'spaces are not replaced by ▁, as llama.cpp does');
  return prefix;
}

/** llama.cpp joins the neighbours whose joint token has the highest score; the score is therefore minus the rank of the first
 *  merge that makes the token. That is the same as following the merges when all merges of a token stand together and
 *  every pair of tokens that makes it is among them, as in merges that were made from a SentencePiece model. */
function scoresOf({ tokens, types, ids }: Vocabulary, merges: readonly Merge[], warnings: string[]): Float32Array {
  const scores = new Float32Array(tokens.length);
  const made = new Set<string>();
  let scattered = 0;
  let previous = '';
  for (const [rank, [left, right]] of merges.entries()) {
    const token = left + right;
    const id = ids.get(token);
    if (id === undefined) continue;
    if (!made.has(token)) scores[id] = -rank;
    else if (token !== previous) scattered++;
    made.add(token);
    previous = token;
  }
  let unreachable = 0;
  for (const [id, token] of tokens.entries()) {
    if (types[id] !== TYPE.normal || made.has(token)) continue;
    // Below all merges, whose order alone matters.
    scores[id] = -merges.length - 1;
    if (Array.from(token).length > 1) unreachable++;
  }
  if (scattered > 0 || unreachable > 0) {
    warnings.push(
      `${String(scattered)} merges are out of order and ${String(unreachable)} tokens come from no merge: llama.cpp can split some words differently`,
    );
  }
  return scores;
}

function specialPairs(files: TokenizerFiles, root: Json, { ids }: Vocabulary): [string, GgufValue][] {
  const { tokenizerConfig, modelConfig } = files;
  const idOf = (name: string): number | null => {
    const value = tokenizerConfig[`${name}_token`];
    const content = isObject(value) ? value['content'] : value;
    if (typeof content === 'string') return ids.get(content) ?? null;
    const configured = modelConfig[`${name}_token_id`];
    const id: unknown = Array.isArray(configured) ? configured[0] : configured;
    return typeof id === 'number' && Number.isInteger(id) && id >= 0 ? id : null;
  };
  const pairs: [string, GgufValue][] = [];
  const special = { bos: idOf('bos'), eos: idOf('eos'), unknown: idOf('unk'), padding: idOf('pad') };
  for (const [name, id] of Object.entries(special)) {
    if (id !== null) pairs.push([`tokenizer.ggml.${name}_token_id`, u32(id)]);
  }
  const around = aroundText(root, tokenizerConfig);
  pairs.push(['tokenizer.ggml.add_bos_token', bool(special.bos !== null && around.first(special.bos))]);
  pairs.push(['tokenizer.ggml.add_eos_token', bool(special.eos !== null && around.last(special.eos))]);
  return [...pairs, ...templatePairs(files.chatTemplate ?? tokenizerConfig['chat_template'])];
}

/** Which special tokens the post-processor puts before and after a text. */
function aroundText(root: Json, config: Json): { first(id: number): boolean; last(id: number): boolean } {
  const template = steps(root['post_processor'], 'processors').find(({ type }) => type === 'TemplateProcessing');
  const single = template?.['single'];
  if (!Array.isArray(single)) {
    const asks = root['post_processor'] === null || root['post_processor'] === undefined;
    return {
      first: () => asks && config['add_bos_token'] === true,
      last: () => asks && config['add_eos_token'] === true,
    };
  }
  const special = template?.['special_tokens'];
  const is = (entry: unknown, id: number): boolean => {
    const name = isObject(entry) && isObject(entry['SpecialToken']) ? entry['SpecialToken']['id'] : undefined;
    const described = isObject(special) && typeof name === 'string' ? special[name] : undefined;
    return isObject(described) && Array.isArray(described['ids']) && described['ids'].includes(id);
  };
  return { first: (id) => is(single[0], id), last: (id) => is(single.at(-1), id) };
}

/** One template, or several with names of which `default` is the one without a name; llama.cpp lists the others. */
function templatePairs(value: unknown): [string, GgufValue][] {
  if (typeof value === 'string') return [['tokenizer.chat_template', string(value)]];
  if (!Array.isArray(value)) return [];
  const named = value.filter(isObject).flatMap(({ name, template }): [string, string][] => {
    if (typeof name !== 'string' || typeof template !== 'string') return [];
    // A name becomes part of a key.
    const plain = name.replace(/[^A-Za-z0-9_]/g, '');
    return plain === '' ? [] : [[plain, template]];
  });
  const others = named.filter(([name]) => name !== 'default');
  const standard = named.find(([name]) => name === 'default');
  return [
    ...(others.length === 0
      ? []
      : ([['tokenizer.chat_templates', { type: 'strings', value: others.map(([name]) => name) }]] as [
          string,
          GgufValue,
        ][])),
    ...(standard === undefined ? [] : templatePairs(standard[1])),
    ...others.map(([name, template]): [string, GgufValue] => [`tokenizer.chat_template.${name}`, string(template)]),
  ];
}

function unsupported({ file }: TokenizerFiles, what: string): UserError {
  return new UserError('TokenizerUnsupported', `${file}: ${what}`, {
    hint: 'Other export formats copy the tokenizer as it is: huggingface, compressed-tensors, gptq.',
  });
}
