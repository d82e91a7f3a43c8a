// What a full token cache gives up, and what it never does.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { pruneTokenCache, useCacheEntry } from '../../src/formats/token-cache-space';
import { temporaryFolder } from '../formats/support';

const NOW = Date.UTC(2030, 0, 10);
const HOUR = 3600 * 1000;
const keyOf = (letter: string): string => letter.repeat(40);

class Cache {
  readonly folder: string;

  constructor(context: TestContext) {
    this.folder = path.join(temporaryFolder(context), 'tokens');
    mkdirSync(this.folder);
  }

  file(name: string, bytes: number, hoursAgo: number): string {
    const file = path.join(this.folder, name);
    writeFileSync(file, Buffer.alloc(bytes));
    this.age(file, hoursAgo);
    return file;
  }

  age(file: string, hoursAgo: number): void {
    const time = new Date(NOW - hoursAgo * HOUR);
    utimesSync(file, time, time);
  }

  /** 1,000 bytes, last used so long ago; its ids are older. */
  entry(letter: string, hoursAgo: number): void {
    this.file(`${keyOf(letter)}.bin`, 900, 1000);
    this.file(`${keyOf(letter)}.documents.bin`, 60, 1000);
    this.file(`${keyOf(letter)}.json`, 40, hoursAgo);
  }

  prune(limit: number): Promise<string[]> {
    return pruneTokenCache(this.folder, { limit, now: NOW });
  }

  get names(): string[] {
    return readdirSync(this.folder).sort();
  }
}

test('what was used longest ago goes first, and no more than is needed', async (context) => {
  const cache = new Cache(context);
  cache.entry('a', 5);
  cache.entry('b', 100);
  cache.entry('c', 50);
  cache.entry('d', 1);
  assert.deepEqual(await cache.prune(4000), []);
  assert.deepEqual(await cache.prune(2500), [keyOf('b'), keyOf('c')]);
  assert.deepEqual(
    cache.names.filter((name) => name.endsWith('.json')),
    [`${keyOf('a')}.json`, `${keyOf('d')}.json`],
  );
  assert.equal(cache.names.length, 6, 'all files of an entry go with it');
});

test('what a living process uses stays, whatever its size', async (context) => {
  const cache = new Cache(context);
  cache.entry('a', 100);
  cache.entry('b', 1);
  const use = await useCacheEntry(cache.folder, keyOf('a'));
  const touched = statSync(path.join(cache.folder, `${keyOf('a')}.json`)).mtimeMs;
  assert.ok(Math.abs(touched - Date.now()) < 60_000, 'a use is remembered');
  cache.age(path.join(cache.folder, `${keyOf('a')}.json`), 100);
  assert.deepEqual(await cache.prune(500), [keyOf('b')]);
  use.release();
  use.release();
  assert.deepEqual(await cache.prune(500), [keyOf('a')]);
  assert.deepEqual(cache.names, []);
});

test('marks of dead processes count for nothing, those of other hosts for a week', async (context) => {
  const cache = new Cache(context);
  const mark = (letter: string, owner: unknown, hoursAgo: number): void => {
    const file = path.join(cache.folder, `${keyOf(letter)}.0123456789ab.use`);
    writeFileSync(file, typeof owner === 'string' ? owner : JSON.stringify(owner));
    cache.age(file, hoursAgo);
  };
  for (const letter of ['a', 'b', 'c', 'd', 'e']) cache.entry(letter, 1);
  mark('a', { host: os.hostname(), pid: 2 ** 30 }, 1);
  mark('b', { host: 'elsewhere', pid: 1 }, 24);
  mark('c', { host: 'elsewhere', pid: 1 }, 24 * 8);
  mark('d', '', 1);
  mark('e', 'null', 24 * 8);
  assert.deepEqual((await cache.prune(0)).sort(), [keyOf('a'), keyOf('c'), keyOf('e')]);
  assert.deepEqual(
    cache.names.filter((name) => name.endsWith('.use')),
    [`${keyOf('b')}.0123456789ab.use`, `${keyOf('d')}.0123456789ab.use`],
  );
});

test('what a killed process left half-written goes after a day; files of others stay', async (context) => {
  const cache = new Cache(context);
  cache.entry('a', 1);
  cache.file(`.${keyOf('b')}.bin.0123456789ab.tmp`, 10, 30);
  cache.file(`.${keyOf('c')}.bin.0123456789ab.tmp`, 10, 2);
  cache.file(`${keyOf('d')}.bin`, 10, 30);
  const notes = cache.file('notes.txt', 10, 3000);
  assert.deepEqual((await cache.prune(1e9)).sort(), [keyOf('b'), keyOf('d')]);
  assert.ok(existsSync(notes) && existsSync(path.join(cache.folder, `.${keyOf('c')}.bin.0123456789ab.tmp`)));
});

test('a folder that is not there takes no mark', async (context) => {
  const use = await useCacheEntry(path.join(temporaryFolder(context), 'absent'), keyOf('a'));
  use.release();
});
