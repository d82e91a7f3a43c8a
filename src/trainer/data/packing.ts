// Token streams cut into sequences. With packing "join" the stream is one text, cut every sequenceLength ids; every id but the
// first of a block is predicted (the reference's join_nn). With packing "documents" the documents follow each other in the same
// blocks, filled in order without padding and cut where a block ends; attention and prediction stop at their borders.
import type { TokenStream } from '../../formats/token-stream';
import type { TokenBatch } from '../../../native/binding/addon';

/** Targets and firstKey: see TokenBatch. */
export const NOT_PREDICTED = -1;

/** Whole sequences of a stream; what remains at the end is dropped. */
export function sequenceCount(stream: TokenStream, sequenceLength: number): number {
  return Math.floor(stream.count / sequenceLength);
}

/** The given sequences as a batch [indices.length, sequenceLength]. */
export function batchOf(stream: TokenStream, sequenceLength: number, indices: readonly number[]): TokenBatch {
  const size = indices.length * sequenceLength;
  const tokens = new Int32Array(size);
  const targets = new Int32Array(size);
  const firstKey = stream.packing === 'documents' ? new Int32Array(size) : null;
  indices.forEach((index, row) => {
    const begin = row * sequenceLength;
    const end = begin + sequenceLength;
    const start = index * sequenceLength;
    const sequence = tokens.subarray(begin, end);
    stream.read(start, sequence);
    targets.set(sequence.subarray(1), begin);
    targets[end - 1] = NOT_PREDICTED;
    if (firstKey === null) return;
    for (const position of stream.documentStarts(start, sequenceLength)) {
      const first = position - start;
      firstKey.fill(first, begin + first, end);
      if (first > 0) targets[begin + first - 1] = NOT_PREDICTED;
    }
  });
  return firstKey === null ? { tokens, targets } : { tokens, targets, firstKey };
}
