// The files of a tokenizer, as threads hand them to each other.

/** What a worker thread needs to open the same tokenizer again. */
export interface TokenizerSource {
  /** tokenizer.json and tokenizer_config.json as read (the latter `{}` when absent). */
  readonly tokenizerJson: Uint8Array;
  readonly config: Readonly<Record<string, unknown>>;
  /** lrqat.node; null: only the library. */
  readonly addonFile: string | null;
  /** For messages. */
  readonly file: string;
}
