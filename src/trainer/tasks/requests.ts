// Which ids are read and which are scored: the tokenization of lm-evaluation-harness 0.4.

import { UserError } from '../../errors';
import type { TextTokenizer } from '../../formats';
import type { Question } from './definitions';
import { stripEnd } from './python-text';

/** A sequence whose last ids are scored, each from what is before it. */
export interface ScoreRequest {
  /** All ids but the last. */
  readonly tokens: Int32Array;
  /** The last ids of context + continuation; target i is predicted at position tokens.length − targets.length + i. */
  readonly targets: Int32Array;
}

export interface RequestOptions {
  /** Which question this is, for messages. */
  readonly name: string;
  /** Put bos_token before the context: the harness's add_bos_token. */
  readonly addBos: boolean;
  /** Positions that the model may read; a longer context loses its beginning. */
  readonly maxLength: number;
}

/** Blanks at the end of the context belong to the continuation, and the ids are those of the whole text: what the tokenizer makes
 *  of the seam is what counts.
 *  @throws UserError ContinuationTooLong; ContextEmpty: nothing to read before the continuation */
export function scoreRequest(
  tokenizer: Pick<TextTokenizer, 'encode' | 'bosId' | 'eosId'>,
  { context, continuation }: Question['choices'][number],
  { name, addBos, maxLength }: RequestOptions,
): ScoreRequest {
  const text = stripEnd(context);
  const rest = context.slice(text.length) + continuation;
  const plain = { addSpecialTokens: false };
  const whole = tokenizer.encode(text + rest, plain);
  const contextLength = text === '' ? 0 : tokenizer.encode(text, plain).length;
  // Where nothing is before the continuation, its first id is scored after the token that begins or ends a text.
  const first = addBos || contextLength === 0 ? (tokenizer.bosId ?? tokenizer.eosId) : null;
  if (first === null && contextLength === 0) {
    throw new UserError('ContextEmpty', `${name} has no context, and the tokenizer neither bos_token nor eos_token`);
  }
  const ids = first === null ? whole : Int32Array.from([first, ...whole]);
  const targets = ids.slice((first === null ? 0 : 1) + contextLength);
  if (targets.length > maxLength) {
    throw new UserError(
      'ContinuationTooLong',
      `${name}: an answer has ${String(targets.length)} tokens, the model reads ${String(maxLength)}`,
      { hint: 'Raise --sequence-length where it is below what the model was made for, or take the question out.' },
    );
  }
  return { tokens: ids.slice(Math.max(0, ids.length - maxLength - 1), -1), targets };
}
