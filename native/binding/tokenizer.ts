// Type of the tokenizer class of lrqat.node. Synchronous: it is used in worker threads and for short texts.

/** A byte-pair encoder for the tokenizer.json files that it can follow id by id. Text is UTF-8; every method throws an error
 *  with the code `InvalidArgument` that names the byte offset when it is not. */
export interface BpeTokenizer {
  /** Highest id of the vocabulary and the added tokens, plus one. */
  readonly vocabSize: number;
  /** Ids that the post-processor puts before and after a text. */
  readonly prefixIds: Int32Array;
  readonly suffixIds: Int32Array;
  /** Ids of a whole text; `addSpecialTokens` (default true) adds prefixIds and suffixIds. */
  encode(utf8: Uint8Array, options?: { readonly addSpecialTokens?: boolean }): Int32Array;
  /** Ids of utf8[begin, end) as a part of a longer text, without prefix and suffix. `begin` must be the start of the text
   *  (`startsText`) or a split point; `end` the end of the text or a split point, in which case the code point that begins
   *  at `end` must be there to be looked at. The ids of consecutive parts are the ids of the text. */
  encodePart(utf8: Uint8Array, begin: number, end: number, startsText: boolean): Int32Array;
  /** The last split point of `utf8` (a part of a longer text that begins at a code point), or 0 when there is none. A split
   *  point holds whatever stands before and after the bytes given. */
  lastSplit(utf8: Uint8Array): number;
  /** Id of a token by its content in tokenizer.json, or -1. */
  idOf(token: string): number;
}

export interface TokenizerAddon {
  /** Throws an error with the code `Unsupported` and the reason as its message when the file asks for anything that this
   *  encoder does not do exactly, and `InputFile` when it is not a tokenizer.json. */
  readonly BpeTokenizer: new (json: Uint8Array) => BpeTokenizer;
}
