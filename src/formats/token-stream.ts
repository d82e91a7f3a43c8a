// Token ids of a corpus as a file-backed sequence: read in slices, never all in memory.

export interface TokenStream {
  /** Number of ids. */
  readonly count: number;
  /** Number of documents; null when the corpus is one text (packing "join"). */
  readonly documents: number | null;
  /** Vocabulary of the tokenizer that made the ids. */
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
