// Token streams cut into sequences.
import type { TokenStream } from '../../formats/token-stream';
import type { TokenBatch } from '../../../native/binding/addon';

/** A stream seen as sequences of `sequenceLength` consecutive ids; what remains at the end is dropped. */
export interface Sequences {
  readonly stream: TokenStream;
  readonly sequenceLength: number;
  /** Number of whole sequences. */
  readonly count: number;
}

/** The given sequences as a batch. */
export declare function batchOf(sequences: Sequences, indices: readonly number[]): TokenBatch;
