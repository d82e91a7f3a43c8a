// Pre-tokenized corpora: .bin files of ids, each with a JSON side file (data.bin: data.json or data.bin.json)
//   { "dtype": "uint16" | "uint32", "vocabSize": n, "count": n (optional), "tokenizerHash": "…" (optional) }
// Several files follow each other as one stream. For packing "documents" a document ends after each EOS id.
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { UserError, messageOf, systemErrorCode } from '../errors';
import type { CorpusFile } from './corpus-files';
import { sha256OfFile } from './file-hash';
import { TokenFile, tokenBytes, type TokenDType } from './token-file';
import type { Packing, TokenStream } from './token-stream';
import type { TextTokenizer } from './tokenizer';

export interface TokenCorpusOptions {
  readonly files: readonly CorpusFile[];
  readonly tokenizer: TextTokenizer;
  readonly packing: Packing;
  readonly signal?: AbortSignal | undefined;
}

export async function openTokenCorpus(options: TokenCorpusOptions): Promise<TokenStream> {
  const { tokenizer, packing, signal } = options;
  const endId = packing === 'documents' ? tokenizer.eosId : null;
  if (packing === 'documents' && endId === null) {
    throw new UserError(
      'CorpusInvalid',
      'packing "documents" of .bin files needs an EOS token to find the documents by',
      {
        hint: `Name an eos_token in tokenizer_config.json beside ${tokenizer.source.file}, or use packing "join".`,
      },
    );
  }
  const identity = createHash('sha256').update(`tokens\0${packing}\0${String(endId)}`);
  const parts: TokenFile[] = [];
  try {
    for (const corpusFile of options.files) {
      const side = await readSideFile(corpusFile, tokenizer);
      identity.update(`\0${side.dtype}\0${await contentDigest(corpusFile, signal)}`);
      parts.push(new TokenFile(corpusFile.file, side.dtype, side.count, side.vocabSize));
    }
  } catch (error) {
    for (const part of parts) part.close();
    throw error;
  }
  return new TokenFiles(parts, identity.digest('hex'), endId);
}

interface SideFile {
  readonly dtype: TokenDType;
  readonly vocabSize: number;
  readonly count: number;
}

async function readSideFile({ file, bytes }: CorpusFile, tokenizer: TextTokenizer): Promise<SideFile> {
  const { name, text } = await findSideFile(file);
  const fail = (what: string, hint?: string): never => {
    throw new UserError('CorpusInvalid', `${name}: ${what}`, hint === undefined ? {} : { hint });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    fail(`not valid JSON (${messageOf(error)})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fail('expected a JSON object');
  const { dtype, vocabSize, count, tokenizerHash } = value as Record<string, unknown>;
  if (dtype !== 'uint16' && dtype !== 'uint32') {
    return fail(`"dtype" is ${JSON.stringify(dtype)}`, 'Allowed are "uint16" and "uint32".');
  }
  if (typeof vocabSize !== 'number' || !Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > 2 ** 31) {
    return fail(`"vocabSize" is ${JSON.stringify(vocabSize)}`, 'It is the number of ids of the tokenizer.');
  }
  if (bytes % tokenBytes(dtype) !== 0) {
    throw new UserError('CorpusInvalid', `${file}: ${String(bytes)} bytes are not a whole number of ${dtype} ids`);
  }
  const found = bytes / tokenBytes(dtype);
  if (count !== undefined && count !== found) {
    return fail(`"count" is ${JSON.stringify(count)}, but ${file} holds ${String(found)} ids`);
  }
  if (tokenizerHash !== undefined && tokenizerHash !== tokenizer.hash) {
    return fail(
      `"tokenizerHash" is ${JSON.stringify(tokenizerHash)}, that of ${tokenizer.source.file} is ${tokenizer.hash}`,
      'These ids were made with another tokenizer: tokenize the text again, or remove the key if you know better.',
    );
  }
  return { dtype, vocabSize, count: found };
}

async function findSideFile(file: string): Promise<{ name: string; text: string }> {
  const names = [file.replace(/\.bin$/i, '.json'), `${file}.json`];
  for (const name of names) {
    try {
      return { name, text: await readFile(name, 'utf8') };
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    }
  }
  throw new UserError('CorpusInvalid', `${file}: no side file ${names.join(' or ')}`, {
    hint: 'It says what the ids are, for example {"dtype": "uint16", "vocabSize": 32000}.',
  });
}

/** Hash of the whole file; of its length and evenly spaced blocks when reading all of it would delay every start. */
async function contentDigest({ file, bytes }: CorpusFile, signal: AbortSignal | undefined): Promise<string> {
  const wholeUpTo = 1 << 30;
  if (bytes <= wholeUpTo) return sha256OfFile(file, signal);
  const block = 1 << 16;
  const blocks = 4096;
  const hash = createHash('sha256').update(`sampled\0${String(bytes)}`);
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.alloc(block);
    for (let i = 0; i < blocks; i++) {
      signal?.throwIfAborted();
      const position = Math.floor((i * (bytes - block)) / (blocks - 1));
      const { bytesRead } = await handle.read(buffer, 0, block, position);
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

class TokenFiles implements TokenStream {
  readonly count: number;
  readonly packing: Packing;
  readonly vocabSize: number;
  readonly files: readonly string[];

  constructor(
    private readonly parts: readonly TokenFile[],
    readonly identity: string,
    private readonly endId: number | null,
  ) {
    this.count = parts.reduce((sum, part) => sum + part.count, 0);
    this.packing = endId === null ? 'join' : 'documents';
    this.vocabSize = parts.reduce((highest, part) => Math.max(highest, part.vocabSize), 0);
    this.files = parts.map((part) => part.file);
  }

  read(start: number, into: Int32Array): void {
    let base = 0;
    let done = 0;
    for (const part of this.parts) {
      const from = start + done - base;
      if (done < into.length && from < part.count) {
        const take = Math.min(into.length - done, part.count - from);
        part.read(from, into.subarray(done, done + take));
        done += take;
      }
      base += part.count;
    }
    if (done < into.length)
      throw new RangeError(`ids ${String(start)} + ${String(into.length)} of ${String(this.count)}`);
  }

  documentStarts(start: number, length: number): number[] {
    const starts: number[] = start === 0 && length > 0 ? [0] : [];
    if (this.endId === null) return starts;
    const first = Math.max(start - 1, 0);
    const ids = new Int32Array(start + length - 1 - first);
    this.read(first, ids);
    ids.forEach((id, i) => {
      if (id === this.endId) starts.push(first + i + 1);
    });
    return starts;
  }

  close(): void {
    for (const part of this.parts) part.close();
  }
}
