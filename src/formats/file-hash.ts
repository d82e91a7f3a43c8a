// SHA-256 of large files, streamed, and remembered for as long as a file's size and time of change stay the same.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';

const known = new Map<string, string>();

/** SHA-256 of a file's contents, hexadecimal. Rejects with AbortError when `signal` is aborted. */
export async function sha256OfFile(file: string, signal?: AbortSignal): Promise<string> {
  const place = await realpath(file);
  const { size, mtimeMs, ino } = await stat(place);
  const key = [place, size, mtimeMs, ino].join('\0');
  const before = known.get(key);
  if (before !== undefined) return before;
  const hash = createHash('sha256');
  await pipeline(createReadStream(place, { highWaterMark: 1 << 20 }), hash, { signal });
  const digest = hash.digest('hex');
  known.set(key, digest);
  return digest;
}
