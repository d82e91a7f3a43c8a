// A corpus (files and globs) as token ids: tokenized in worker threads, cached by content.
import { createHash } from 'node:crypto';
import os from 'node:os';
import { UserError } from '../errors';
import { documentParts, type DocumentPart, type TextRows } from './corpus-documents';
import { corpusFiles, type CorpusFile } from './corpus-files';
import { sha256OfFile } from './file-hash';
import { TOKEN_CACHE_VERSION, TokenCache, type TokenChunk } from './token-cache';
import { openTokenCorpus } from './token-corpus';
import type { Packing, TokenStream } from './token-stream';
import { inOrder, inThisThread, TokenizeThreads, type TokenizePool } from './tokenize-pool';
import { joined, textJobs } from './text-jobs';
import type { TextTokenizer } from './tokenizer';

export type { Packing } from './token-stream';

export interface TokenizeProgress {
  /** Bytes of the files done and in all. */
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

/** Token ids of a corpus. Packing "join" is the text of all documents joined by a blank line, tokenized as one string, with the
 *  special tokens that the tokenizer puts around a text; a .txt file is one document. Packing "documents" tokenizes each
 *  document by itself, with bos_token before and eos_token after it (those that the tokenizer has); a .txt file has a document
 *  between blank lines, and empty documents are left out. Rejects with the signal's reason when aborted. */
export async function tokenizeCorpus(options: CorpusOptions): Promise<TokenStream> {
  const { tokenizer, packing, signal } = options;
  signal?.throwIfAborted();
  const files = await corpusFiles(options.files, options.baseFolder);
  const names = files.map(({ file }) => file);
  const preTokenized = files.filter(({ kind }) => kind === 'tokens');
  if (preTokenized.length === files.length) return openTokenCorpus({ files, tokenizer, packing, signal });
  if (preTokenized[0] !== undefined) {
    throw new UserError('CorpusKind', `${preTokenized[0].file}: .bin files cannot be mixed with text in one corpus`, {
      hint: 'Use .bin files only, or text only.',
    });
  }
  const settings = { field: options.field ?? 'text', textRows: textRows(options) };
  const key = await cacheKey(files, settings, options);
  const cache = new TokenCache(options.cacheFolder, key, tokenizer.vocabSize);
  const cached = await cache.open(names, signal);
  if (cached !== null) return cached;

  await cache.write(tokenChunks(files, settings, options), packing === 'documents');
  const made = await cache.open(names, signal);
  if (made === null) throw new Error(`${options.cacheFolder}: the token cache did not keep what was written`);
  return made;
}

interface DocumentSettings {
  readonly field: string;
  readonly textRows: TextRows;
}

function textRows({ kind, packing }: CorpusOptions): TextRows {
  if (kind === 'wikitext') return 'lines';
  return packing === 'join' ? 'file' : 'paragraphs';
}

async function cacheKey(
  files: readonly CorpusFile[],
  settings: DocumentSettings,
  options: CorpusOptions,
): Promise<string> {
  const contents: string[] = [];
  for (const { file, kind } of files) contents.push(`${kind}:${await sha256OfFile(file, options.signal)}`);
  const { tokenizer, packing } = options;
  // The two encoders give the same ids for what both can do; a doubt about that must not hide behind a cache.
  const parts = {
    version: TOKEN_CACHE_VERSION,
    tokenizer: tokenizer.hash,
    native: tokenizer.native,
    packing,
    ...settings,
  };
  return createHash('sha256')
    .update(JSON.stringify({ ...parts, contents }))
    .digest('hex')
    .slice(0, 40);
}

async function* tokenChunks(
  files: readonly CorpusFile[],
  settings: DocumentSettings,
  options: CorpusOptions,
): AsyncGenerator<TokenChunk> {
  const { tokenizer, packing, signal } = options;
  const { encoder } = tokenizer;
  const bytesTotal = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const pool = makePool(bytesTotal, options);
  const assemble = packing === 'join' ? joinAssembler(tokenizer) : documentAssembler(tokenizer);
  const started = performance.now();
  let tokens = 0;
  try {
    const parts = allParts(files, settings);
    const findSplit = encoder === null ? null : (bytes: Uint8Array): number => encoder.lastSplit(bytes);
    const jobs = textJobs(packing === 'join' ? joined(parts) : parts, findSplit);
    for await (const { job, encoded } of inOrder(jobs, pool)) {
      signal?.throwIfAborted();
      const chunk = assemble(job.pieces, encoded);
      tokens += chunk.ids.length;
      yield chunk;
      const seconds = Math.max((performance.now() - started) / 1000, 1e-3);
      const megabytesPerSecond = job.fileBytes / seconds / 1e6;
      options.onProgress?.({ bytesDone: job.fileBytes, bytesTotal, tokens, megabytesPerSecond });
    }
  } finally {
    await pool.close();
  }
}

async function* allParts(files: readonly CorpusFile[], settings: DocumentSettings): AsyncGenerator<DocumentPart> {
  let before = 0;
  for (const file of files) {
    for await (const part of documentParts(file, settings)) {
      yield { ...part, fileBytes: before + Math.min(part.fileBytes, file.bytes) };
    }
    before += file.bytes;
  }
}

/** Starting a thread, which reads the tokenizer anew, costs about what encoding two megabytes does. */
function makePool(bytesTotal: number, { threads, tokenizer }: CorpusOptions): TokenizePool {
  const worthwhile = tokenizer.native ? Math.ceil(bytesTotal / 2e6) - 1 : Math.ceil(bytesTotal / 2e5);
  const count = Math.min(threads ?? os.availableParallelism(), worthwhile);
  return count > 0 ? new TokenizeThreads(tokenizer, count) : inThisThread(tokenizer);
}

type Assemble = (
  pieces: readonly { readonly begin: number; readonly end: number; readonly starts: boolean; readonly ends: boolean }[],
  encoded: { readonly ids: Int32Array; readonly counts: Uint32Array },
) => TokenChunk;

/** One text: what the post-processor puts around it stands at its two ends. */
function joinAssembler(tokenizer: TextTokenizer): Assemble {
  let isFirst = true;
  return (pieces, { ids }) => {
    const before = isFirst ? tokenizer.prefixIds : [];
    const after = pieces.at(-1)?.ends === true ? tokenizer.suffixIds : [];
    const chunk = new Int32Array(before.length + ids.length + after.length);
    chunk.set(before);
    chunk.set(ids, before.length);
    chunk.set(after, before.length + ids.length);
    const documentStarts = isFirst ? [0] : [];
    isFirst = false;
    return { ids: chunk, documentStarts };
  };
}

function documentAssembler({ bosId, eosId }: TextTokenizer): Assemble {
  let position = 0;
  return (pieces, { ids, counts }) => {
    const chunk = new Int32Array(ids.length + 2 * pieces.length);
    const documentStarts: number[] = [];
    let read = 0;
    let written = 0;
    pieces.forEach(({ begin, end, starts, ends }, i) => {
      if (starts && ends && begin === end) return;
      if (starts) {
        documentStarts.push(position + written);
        if (bosId !== null) chunk[written++] = bosId;
      }
      const count = counts[i] ?? 0;
      chunk.set(ids.subarray(read, read + count), written);
      read += count;
      written += count;
      if (ends && eosId !== null) chunk[written++] = eosId;
    });
    position += written;
    return { ids: chunk.subarray(0, written), documentStarts };
  };
}
