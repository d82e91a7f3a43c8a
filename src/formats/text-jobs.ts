// Documents → jobs for tokenization threads: about a megabyte of text each, long documents cut where the tokenizer has proven
// that the ids of the parts are the ids of the whole.
import { UserError } from '../errors';
import type { DocumentPart } from './corpus-documents';

/** A document, or a part of one, within the bytes of a job. */
export interface TextPiece {
  readonly begin: number;
  /** What stands in the job after the end of a part that does not end its document is there to be looked at. */
  readonly end: number;
  readonly starts: boolean;
  readonly ends: boolean;
}

export interface TextJob {
  readonly bytes: Uint8Array;
  readonly pieces: readonly TextPiece[];
  /** Bytes of the file read when the job was complete. */
  readonly fileBytes: number;
}

/** Last split point of a piece of text, or 0; null: this tokenizer has none. */
export type FindSplit = ((bytes: Uint8Array) => number) | null;

const JOB_BYTES = 1 << 20;
/** Without split points a document is one string of the JavaScript engine. */
const MAX_WHOLE_BYTES = 1 << 28;

/** All documents of all files as one: joined by a blank line. */
export async function* joined(parts: AsyncIterable<DocumentPart>): AsyncGenerator<DocumentPart> {
  const blankLine = Buffer.from('\n\n');
  let any = false;
  let fileBytes = 0;
  for await (const part of parts) {
    ({ fileBytes } = part);
    if (part.starts && any) yield { bytes: blankLine, starts: false, ends: false, fileBytes };
    yield { bytes: part.bytes, starts: !any, ends: false, fileBytes };
    any = true;
  }
  if (any) yield { bytes: new Uint8Array(0), starts: false, ends: true, fileBytes };
}

export async function* textJobs(
  parts: AsyncIterable<DocumentPart>,
  findSplit: FindSplit,
  jobBytes = JOB_BYTES,
): AsyncGenerator<TextJob> {
  const text = new GrowingBytes();
  let pieces: TextPiece[] = [];
  let begin = 0;
  let starts = true;
  let threshold = jobBytes;
  let fileBytes = 0;

  const flush = (end: number, visible: number): TextJob => {
    const job = { bytes: text.copy(0, visible), pieces, fileBytes };
    text.dropFirst(end);
    pieces = [];
    begin = 0;
    threshold = jobBytes;
    return job;
  };

  for await (const part of parts) {
    ({ fileBytes } = part);
    if (part.starts) starts = true;
    text.append(part.bytes);
    if (part.ends) {
      pieces.push({ begin, end: text.length, starts, ends: true });
      begin = text.length;
      if (text.length >= jobBytes) yield flush(text.length, text.length);
      continue;
    }
    if (text.length < threshold) continue;
    const split = findSplit === null ? 0 : findSplit(text.view(begin));
    if (split > 0) {
      const end = begin + split;
      pieces.push({ begin, end, starts, ends: false });
      starts = false;
      yield flush(end, end + characterLength(text.view(end)));
    } else if (pieces.length > 0) {
      // Room for what cannot be cut here.
      yield flush(begin, begin);
    } else {
      if (findSplit === null && text.length > MAX_WHOLE_BYTES) throw tooLongToTokenizeWhole();
      threshold = text.length * 2;
    }
  }
  if (pieces.length > 0) yield flush(text.length, text.length);
}

function characterLength(bytes: Uint8Array): number {
  const lead = bytes[0] ?? 0;
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

function tooLongToTokenizeWhole(): UserError {
  return new UserError(
    'CorpusTooLong',
    `a text of more than ${String(MAX_WHOLE_BYTES >> 20)} MiB cannot be tokenized in parts with this tokenizer`,
    {
      hint: 'The native encoder does not support this tokenizer.json, and the library needs every text as a whole. Use packing "documents", shorter files, or a pre-tokenized .bin file.',
    },
  );
}

/** Bytes appended at the end and dropped from the front. */
class GrowingBytes {
  private buffer = Buffer.allocUnsafe(2 * JOB_BYTES);
  length = 0;

  append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.length + bytes.length));
      this.buffer.copy(larger, 0, 0, this.length);
      this.buffer = larger;
    }
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  view(begin: number): Uint8Array {
    return this.buffer.subarray(begin, this.length);
  }

  /** A copy with memory of its own, so that it can be handed to another thread. */
  copy(begin: number, end: number): Uint8Array {
    return new Uint8Array(this.buffer.subarray(begin, end));
  }

  dropFirst(count: number): void {
    this.buffer.copy(this.buffer, 0, count, this.length);
    this.length -= count;
  }
}
