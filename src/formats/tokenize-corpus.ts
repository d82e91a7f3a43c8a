// A corpus (files and globs) as token ids: tokenized in worker threads, cached by content.
import type { TextTokenizer } from './tokenizer';
import type { TokenStream } from './token-stream';

export type Packing = 'join' | 'documents';

export interface TokenizeProgress {
  /** Bytes of text done and in all (of .parquet files: bytes of file). */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly tokens: number;
  readonly megabytesPerSecond: number;
}

export interface CorpusOptions {
  /** Files and globs (.txt, .jsonl, .parquet, or .bin only), relative to `baseFolder`. */
  readonly files: readonly string[];
  readonly baseFolder: string;
  readonly tokenizer: TextTokenizer;
  /** join: all documents as one text with a blank line between; documents: each with its own BOS and EOS. */
  readonly packing: Packing;
  /** Field of .jsonl lines, column of .parquet files; default "text". */
  readonly field?: string;
  /** wikitext: every line of a .txt file is a row of its own (see wikitext.ts); text: the default. */
  readonly kind?: 'text' | 'wikitext';
  /** Folder for cached ids; made when missing. */
  readonly cacheFolder: string;
  /** Worker threads at most; default: number of cores. 0: in this thread. */
  readonly threads?: number;
  readonly onProgress?: (progress: TokenizeProgress) => void;
  readonly signal?: AbortSignal;
}

export declare function tokenizeCorpus(options: CorpusOptions): Promise<TokenStream>;
