// Ids of a corpus on disk, found again by the contents they were made of. Three files of one key:
//   <key>.bin            ids (see token-file.ts)
//   <key>.documents.bin  where documents begin (packing "documents" only)
//   <key>.json           what they are, with their hashes; written last, so that its presence says that the others are whole
// and marks of the processes that use them (token-cache-space.ts).
import { createHash } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { atomicWriteFile } from './atomic-file';
import { sha256OfFile } from './file-hash';
import { pruneTokenCache, useCacheEntry, type CacheUse } from './token-cache-space';
import { PositionFile, TokenFile, dtypeFor, packTokens, tokenBytes, type TokenDType } from './token-file';
import type { Packing, TokenStream } from './token-stream';

/** Raised when the ids of a corpus or the files here change their meaning. */
export const TOKEN_CACHE_VERSION = 2;

interface CacheRecord {
  readonly version: number;
  readonly identity: string;
  readonly dtype: TokenDType;
  readonly count: number;
  readonly vocabSize: number;
  readonly sha256: string;
  /** null: one text. */
  readonly documents: { readonly count: number; readonly sha256: string } | null;
}

export interface TokenChunk {
  readonly ids: Int32Array;
  /** Positions in the stream at which the documents of this chunk begin. */
  readonly documentStarts: readonly number[];
}

export class TokenCache {
  constructor(
    private readonly folder: string,
    private readonly key: string,
    private readonly vocabSize: number,
  ) {}

  /** The cached stream, or null when it is not there or not as it was written. */
  async open(files: readonly string[], signal?: AbortSignal): Promise<TokenStream | null> {
    const record = await this.record();
    if (record === null) return null;
    const use = await useCacheEntry(this.folder, this.key);
    try {
      const whole =
        (await isIntact(this.path('.bin'), record.count * tokenBytes(record.dtype), record.sha256, signal)) &&
        (record.documents === null ||
          (await isIntact(this.path('.documents.bin'), record.documents.count * 8, record.documents.sha256, signal)));
      if (whole) return new CachedTokens(this.path('.bin'), this.path('.documents.bin'), record, files, use);
    } catch (error) {
      use.release();
      throw error;
    }
    use.release();
    return null;
  }

  /** Writes the chunks as they come, and makes room for them. `withDocuments`: their document starts too. */
  async write(chunks: AsyncIterable<TokenChunk>, withDocuments: boolean): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const use = await useCacheEntry(this.folder, this.key);
    try {
      await this.writeEntry(chunks, withDocuments);
      await pruneTokenCache(this.folder);
    } finally {
      use.release();
    }
  }

  private async writeEntry(chunks: AsyncIterable<TokenChunk>, withDocuments: boolean): Promise<void> {
    const dtype = dtypeFor(this.vocabSize);
    const hash = createHash('sha256');
    const starts: Buffer[] = [];
    let count = 0;
    async function* packed(): AsyncGenerator<Uint8Array> {
      for await (const { ids, documentStarts } of chunks) {
        const bytes = packTokens(ids, dtype);
        hash.update(bytes);
        count += ids.length;
        if (withDocuments) starts.push(packPositions(documentStarts));
        yield bytes;
      }
    }
    await atomicWriteFile(this.path('.bin'), packed());
    const documents = Buffer.concat(starts);
    if (withDocuments) await atomicWriteFile(this.path('.documents.bin'), documents);
    const record: CacheRecord = {
      version: TOKEN_CACHE_VERSION,
      identity: this.key,
      dtype,
      count,
      vocabSize: this.vocabSize,
      sha256: hash.digest('hex'),
      documents: withDocuments
        ? { count: documents.length / 8, sha256: createHash('sha256').update(documents).digest('hex') }
        : null,
    };
    await atomicWriteFile(this.path('.json'), `${JSON.stringify(record, null, 2)}\n`);
  }

  private path(extension: string): string {
    return path.join(this.folder, `${this.key}${extension}`);
  }

  private async record(): Promise<CacheRecord | null> {
    try {
      const record: unknown = JSON.parse(await readFile(this.path('.json'), 'utf8'));
      return isRecord(record, this.key, this.vocabSize) ? record : null;
    } catch {
      // Absent or not JSON: made again.
      return null;
    }
  }
}

function packPositions(positions: readonly number[]): Buffer {
  const bytes = Buffer.alloc(positions.length * 8);
  positions.forEach((position, i) => bytes.writeDoubleLE(position, 8 * i));
  return bytes;
}

function isRecord(value: unknown, key: string, vocabSize: number): value is CacheRecord {
  if (typeof value !== 'object' || value === null) return false;
  const record = value as Partial<Record<keyof CacheRecord, unknown>>;
  const { documents } = record;
  const isCount = (count: unknown): boolean => Number.isSafeInteger(count) && Number(count) >= 0;
  return (
    record.version === TOKEN_CACHE_VERSION &&
    record.identity === key &&
    record.vocabSize === vocabSize &&
    record.dtype === dtypeFor(vocabSize) &&
    isCount(record.count) &&
    typeof record.sha256 === 'string' &&
    (documents === null ||
      (typeof documents === 'object' &&
        isCount((documents as { count?: unknown }).count) &&
        typeof (documents as { sha256?: unknown }).sha256 === 'string'))
  );
}

async function isIntact(file: string, bytes: number, sha256: string, signal?: AbortSignal): Promise<boolean> {
  const found = await stat(file).catch(() => null);
  if (found?.size !== bytes) return false;
  return (await sha256OfFile(file, signal)) === sha256;
}

class CachedTokens implements TokenStream {
  readonly count: number;
  readonly packing: Packing;
  readonly vocabSize: number;
  readonly identity: string;
  private readonly tokens: TokenFile;
  private readonly starts: PositionFile | null;

  constructor(
    tokensFile: string,
    startsFile: string,
    record: CacheRecord,
    readonly files: readonly string[],
    private readonly use: CacheUse,
  ) {
    this.count = record.count;
    this.packing = record.documents === null ? 'join' : 'documents';
    this.vocabSize = record.vocabSize;
    this.identity = record.identity;
    this.tokens = new TokenFile(tokensFile, record.dtype, record.count, record.vocabSize);
    this.starts = record.documents === null ? null : new PositionFile(startsFile, record.documents.count);
  }

  read(start: number, into: Int32Array): void {
    this.tokens.read(start, into);
  }

  documentStarts(start: number, length: number): number[] {
    return this.starts === null ? (start === 0 ? [0] : []) : this.starts.within(start, start + length);
  }

  close(): void {
    this.tokens.close();
    this.starts?.close();
    this.use.release();
  }
}
