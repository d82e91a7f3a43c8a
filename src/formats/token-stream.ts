// Token ids of a corpus as a file-backed sequence: read in slices, never all in memory.

/** join: all documents as one text with a blank line between; documents: each with its own BOS and EOS. */
export type Packing = 'join' | 'documents';

export interface TokenStream {
  /** Number of ids. */
  readonly count: number;
  readonly packing: Packing;
  /** Ids are smaller. */
  readonly vocabSize: number;
  /** Identifies the ids: two streams with the same identity hold the same ids in the same order. */
  readonly identity: string;
  /** The files behind it, for messages. */
  readonly files: readonly string[];
  /** Ids [start, start + into.length) into `into`. */
  read(start: number, into: Int32Array): void;
  /** Sorted positions within [start, start + length) at which a document begins. */
  documentStarts(start: number, length: number): number[];
  close(): void;
}
