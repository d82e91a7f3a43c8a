// The tokenizer of a model folder behind one interface: the native byte-pair encoder where it can follow the tokenizer.json id
// by id, else @huggingface/tokenizers, which is also what the native one is tested against.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { UserError, systemErrorCode } from '../errors';
import { type LibraryTokenizer, openLibraryTokenizer } from './tokenizer-library';
import { openNativeTokenizer } from './tokenizer-native';
import type { TokenizerSource } from './tokenizer-source';
import type { BpeTokenizer } from '../../native/binding/tokenizer';

export interface TextTokenizer {
  /** Ids of a text, with the tokens that the post-processor adds unless `addSpecialTokens` is false. Lone surrogates count as
   *  U+FFFD, as in any UTF-8 file. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  /** Highest id plus one. */
  readonly vocabSize: number;
  /** bos_token and eos_token of tokenizer_config.json; null when it names none. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  /** Ids that the post-processor puts around a text. */
  readonly prefixIds: Int32Array;
  readonly suffixIds: Int32Array;
  /** true: the native encoder; false: the library, for this reason. */
  readonly native: boolean;
  readonly reason: string | null;
  /** SHA-256 over tokenizer.json and tokenizer_config.json, hexadecimal. */
  readonly hash: string;
  readonly source: TokenizerSource;
  /** The native encoder, for callers that hand it bytes and parts of texts; null with the library. */
  readonly encoder: BpeTokenizer | null;
}

export interface OpenTokenizerOptions {
  /** Path of lrqat.node (see src/launch); null or absent: only the library. */
  readonly addonFile?: string | null;
}

/** Opens the tokenizer.json (and tokenizer_config.json) of a Hugging Face folder. */
export async function openTokenizer(modelFolder: string, options: OpenTokenizerOptions = {}): Promise<TextTokenizer> {
  const file = path.join(modelFolder, 'tokenizer.json');
  const tokenizerJson = await readOptional(file);
  if (tokenizerJson === null) {
    throw new UserError('TokenizerMissing', `${file}: no such file`, {
      hint: 'A model folder needs its tokenizer.json ("fast" tokenizer); tokenizer.model alone is not read.',
    });
  }
  const config = await readConfig(path.join(modelFolder, 'tokenizer_config.json'));
  return tokenizerFrom({ tokenizerJson, config, addonFile: options.addonFile ?? null, file });
}

/** Opens a tokenizer from what another thread has read. */
export function tokenizerFrom(source: TokenizerSource): TextTokenizer {
  const hash = createHash('sha256')
    .update(source.tokenizerJson)
    .update('\0')
    .update(JSON.stringify(source.config))
    .digest('hex');
  const attempt = openNativeTokenizer(source);
  if (attempt.encoder !== null) {
    const { encoder } = attempt;
    const idOf = (token: string): number | null => {
      const id = encoder.idOf(token);
      return id < 0 ? null : id;
    };
    return {
      encode: (text, encodeOptions) => encoder.encode(Buffer.from(text, 'utf8'), encodeOptions),
      vocabSize: encoder.vocabSize,
      bosId: specialId(source.config, 'bos_token', idOf),
      eosId: specialId(source.config, 'eos_token', idOf),
      prefixIds: encoder.prefixIds,
      suffixIds: encoder.suffixIds,
      native: true,
      reason: null,
      hash,
      source,
      encoder,
    };
  }
  const library: LibraryTokenizer = openLibraryTokenizer(source);
  return {
    encode: (text, encodeOptions) => library.encode(text, encodeOptions?.addSpecialTokens ?? true),
    vocabSize: library.vocabSize,
    bosId: specialId(source.config, 'bos_token', library.idOf),
    eosId: specialId(source.config, 'eos_token', library.idOf),
    prefixIds: library.prefixIds,
    suffixIds: library.suffixIds,
    native: false,
    reason: attempt.reason,
    hash,
    source,
    encoder: null,
  };
}

/** tokenizer_config.json names special tokens by content, or by an object with one. */
function specialId(
  config: Readonly<Record<string, unknown>>,
  key: 'bos_token' | 'eos_token',
  idOf: (token: string) => number | null,
): number | null {
  const value = config[key];
  const content = typeof value === 'object' && value !== null && 'content' in value ? value.content : value;
  return typeof content === 'string' ? idOf(content) : null;
}

async function readConfig(file: string): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await readOptional(file);
  if (bytes === null) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new UserError('TokenizerInvalid', `${file}: not valid JSON (${String(error)})`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UserError('TokenizerInvalid', `${file}: expected a JSON object`);
  }
  return value as Record<string, unknown>;
}

async function readOptional(file: string): Promise<Uint8Array | null> {
  try {
    return await readFile(file);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
}
