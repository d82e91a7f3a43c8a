// One job of text as ids: what a tokenization thread does.
import type { TextJob } from './text-jobs';
import type { TextTokenizer } from './tokenizer';

export interface EncodedJob {
  /** Ids of all pieces, in order, without special tokens around them. */
  readonly ids: Int32Array;
  /** Ids of each piece. */
  readonly counts: Uint32Array;
}

export function encodeJob(tokenizer: TextTokenizer, job: Pick<TextJob, 'bytes' | 'pieces'>): EncodedJob {
  const { encoder } = tokenizer;
  const { bytes, pieces } = job;
  const encoded = pieces.map(({ begin, end, starts, ends }) => {
    if (encoder === null) {
      return tokenizer.encode(Buffer.from(bytes.subarray(begin, end)).toString('utf8'), { addSpecialTokens: false });
    }
    // Only an inner end is followed by something that the splitting pattern may look at.
    const view = bytes.subarray(begin, ends ? end : bytes.length);
    return encoder.encodePart(view, 0, end - begin, starts);
  });
  const [only] = encoded;
  if (encoded.length === 1 && only !== undefined) return { ids: only, counts: Uint32Array.of(only.length) };
  const counts = Uint32Array.from(encoded, (ids) => ids.length);
  const ids = new Int32Array(counts.reduce((sum, count) => sum + count, 0));
  let at = 0;
  for (const part of encoded) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, counts };
}
