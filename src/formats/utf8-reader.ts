// Text files as checked UTF-8, in chunks that end between characters, or in lines.
import { isUtf8 } from 'node:buffer';
import { open } from 'node:fs/promises';
import { UserError } from '../errors';

const CHUNK = 1 << 20;
const NEWLINE = 0x0a;

/** Chunks of a file, each valid UTF-8 by itself. A byte order mark at the start is not text and is left out. */
export async function* utf8Chunks(file: string): AsyncGenerator<Buffer> {
  const handle = await open(file, 'r');
  try {
    let carried = Buffer.alloc(0);
    let line = 1;
    let isFirst = true;
    while (true) {
      // A new buffer each time: whoever receives a chunk may keep it.
      const buffer = Buffer.allocUnsafe(carried.length + CHUNK);
      carried.copy(buffer);
      const { bytesRead } = await handle.read(buffer, carried.length, CHUNK);
      const filled = buffer.subarray(0, carried.length + bytesRead);
      const end = bytesRead === 0 ? filled.length : completeEnd(filled);
      const chunk = filled.subarray(0, end);
      if (!isUtf8(chunk)) throw invalidUtf8(file, chunk, line);
      const start = isFirst && chunk.length >= 3 && chunk.readUIntBE(0, 3) === 0xefbbbf ? 3 : 0;
      if (chunk.length > start) yield chunk.subarray(start);
      if (bytesRead === 0) return;
      if (chunk.length > 0) isFirst = false;
      line += countNewlines(chunk);
      carried = filled.subarray(end);
    }
  } finally {
    await handle.close();
  }
}

export interface Line {
  /** Without its line feed (a carriage return before it is kept). */
  readonly bytes: Buffer;
  /** From 1. */
  readonly number: number;
  /** false: the last line of a file that does not end in a line feed. */
  readonly ended: boolean;
}

export async function* utf8Lines(file: string): AsyncGenerator<Line> {
  // Pieces of a line that spans chunks: joined once, so that a very long line costs linear time.
  let pieces: Buffer[] = [];
  let number = 1;
  for await (const chunk of utf8Chunks(file)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const rest = chunk.subarray(start, end);
      yield { bytes: pieces.length === 0 ? rest : Buffer.concat([...pieces, rest]), number, ended: true };
      pieces = [];
      number++;
      start = end + 1;
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start));
  }
  if (pieces.length > 0) yield { bytes: Buffer.concat(pieces), number, ended: false };
}

/** End of the last whole character: up to three bytes of an unfinished one are left for the next chunk. */
function completeEnd(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

function invalidUtf8(file: string, chunk: Buffer, firstLine: number): UserError {
  // A bad byte spoils its own line only, since a line feed is never part of another character.
  let line = firstLine;
  let start = 0;
  while (start < chunk.length) {
    const newline = chunk.indexOf(NEWLINE, start);
    const end = newline < 0 ? chunk.length : newline;
    if (!isUtf8(chunk.subarray(start, end))) break;
    start = end + 1;
    line++;
  }
  return new UserError('CorpusInvalid', `${file}:${String(line)}: not valid UTF-8`, {
    hint: 'Save the file as UTF-8.',
  });
}
