// The pattern of ByteLevel pre-tokenizers (GPT-2), said so that white space is Unicode's. @huggingface/tokenizers carries it as a
// regular expression of JavaScript, whose \s has U+FEFF and lacks U+0085, the other way round than in the tokenizers that models are
// trained with; in a Split it makes of \s what those do.
import { isObject } from './show-value';

type Json = Readonly<Record<string, unknown>>;

const PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** A tokenizer.json whose ByteLevel step leaves its splitting to a Split step before it, where that is the same. */
export function withUnicodeSpaces(tokenizer: unknown): unknown {
  if (!isObject(tokenizer)) return tokenizer;
  const step = tokenizer['pre_tokenizer'];
  if (!isObject(step)) return tokenizer;
  const list = step['type'] === 'Sequence' ? step['pretokenizers'] : [step];
  if (!Array.isArray(list)) return tokenizer;
  const steps: unknown[] = list.flatMap((entry: unknown) => (splitsItself(entry) ? apart(entry) : [entry]));
  return steps.length === list.length
    ? tokenizer
    : { ...tokenizer, pre_tokenizer: { type: 'Sequence', pretokenizers: steps } };
}

/** With a space put before the text, the words of a Split would each get one. */
function splitsItself(step: unknown): step is Json {
  return (
    isObject(step) && step['type'] === 'ByteLevel' && step['use_regex'] !== false && step['add_prefix_space'] !== true
  );
}

function apart(byteLevel: Json): Json[] {
  return [
    { type: 'Split', pattern: { Regex: PATTERN }, behavior: 'Isolated', invert: false },
    { ...byteLevel, use_regex: false },
  ];
}
