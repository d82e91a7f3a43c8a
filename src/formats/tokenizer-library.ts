// @huggingface/tokenizers as a tokenizer of ids: every kind of tokenizer.json, at a fraction of the native encoder's speed.
import { Tokenizer } from '@huggingface/tokenizers';
import { UserError, messageOf } from '../errors';
import { withUnicodeSpaces } from './gpt2-pattern';
import type { TokenizerSource } from './tokenizer-source';

export interface LibraryTokenizer {
  encode(text: string, addSpecialTokens: boolean): Int32Array;
  readonly vocabSize: number;
  readonly prefixIds: Int32Array;
  readonly suffixIds: Int32Array;
  readonly idOf: (token: string) => number | null;
}

export function openLibraryTokenizer(source: TokenizerSource): LibraryTokenizer {
  let tokenizer: Tokenizer;
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(source.tokenizerJson));
    tokenizer = new Tokenizer(withUnicodeSpaces(parsed) as object, source.config);
  } catch (error) {
    throw new UserError('TokenizerInvalid', `${source.file}: not a usable tokenizer.json (${messageOf(error)})`, {
      cause: error,
    });
  }
  const idOf = (token: string): number | null => tokenizer.token_to_id(token) ?? null;
  const encode = (text: string, addSpecialTokens: boolean): Int32Array => {
    // Through UTF-8, so that lone surrogates become U+FFFD here as everywhere.
    const wellFormed = Buffer.from(text, 'utf8').toString('utf8');
    const { ids } = tokenizer.encode(wellFormed, { add_special_tokens: addSpecialTokens });
    const unknown = ids.findIndex((id) => !Number.isInteger(id));
    if (unknown >= 0) {
      throw new UserError('TokenizerInvalid', `${source.file}: a token of the text has no id`, {
        hint: 'The vocabulary has neither byte tokens nor an unknown token (model.unk_token).',
      });
    }
    return Int32Array.from(ids);
  };
  const prefix = surroundingIds(encode);
  return { encode, vocabSize: highestId(tokenizer) + 1, prefixIds: prefix.before, suffixIds: prefix.after, idOf };
}

/** What the post-processor adds does not depend on the text: ids of the empty text are prefix and suffix together, and a probe
 *  shows where the text stands between them. */
function surroundingIds(encode: LibraryTokenizer['encode']): { before: Int32Array; after: Int32Array } {
  for (const probe of ['a', 'e', '0', '.', ' ']) {
    const bare = encode(probe, false);
    const whole = encode(probe, true);
    const added = whole.length - bare.length;
    if (bare.length === 0) continue;
    for (let before = 0; before <= added; before++) {
      if (bare.every((id, i) => whole[before + i] === id)) {
        return { before: whole.slice(0, before), after: whole.slice(before + bare.length) };
      }
    }
  }
  return { before: new Int32Array(0), after: new Int32Array(0) };
}

function highestId(tokenizer: Tokenizer): number {
  let highest = -1;
  for (const id of tokenizer.get_vocab(true).values()) highest = Math.max(highest, id);
  return highest;
}
