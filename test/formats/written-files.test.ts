// What a folder of weights is made of: files divided by size, hashed while they are written.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { nodeFileSystem, writeFileAtomic } from '../../src/formats/file-system';
import { hashing } from '../../src/formats/hashing-files';
import { atomicWriteFile } from '../../src/formats/atomic-file';
import { shardsOf } from '../../src/formats/safetensors-shards';
import { temporaryFolder } from './support';

test('a file has the hash of what was written, in whatever pieces the disk took it', async (t) => {
  const folder = temporaryFolder(t);
  const slow: typeof nodeFileSystem = {
    ...nodeFileSystem,
    open: async (file, flags) => {
      const inner = await nodeFileSystem.open(file, flags);
      return {
        read: (...of) => inner.read(...of),
        write: (buffer, offset, length, position) => inner.write(buffer, offset, Math.min(length, 7), position),
        stat: () => inner.stat(),
        truncate: (length) => inner.truncate(length),
        datasync: () => inner.datasync(),
        close: () => inner.close(),
      };
    },
  };
  const { fileSystem, written } = hashing(slow);
  const one = path.join(folder, 'one');
  await atomicWriteFile(one, ['first part, ', Buffer.alloc(100, 5), 'last'], fileSystem);
  const contents = readFileSync(one);
  assert.deepEqual(written(one), {
    bytes: contents.length,
    sha256: createHash('sha256').update(contents).digest('hex'),
  });
  await writeFileAtomic(fileSystem, one, 'again');
  assert.equal(written(one)!.sha256, createHash('sha256').update('again').digest('hex'));
  // What did not come from here is not known.
  await nodeFileSystem.copyExclusive(one, path.join(folder, 'two'));
  await fileSystem.rename(path.join(folder, 'two'), one);
  assert.equal(written(one), undefined);
});

test('shards keep the order, hold as much as they may, and never split a tensor', () => {
  const tensor = (kilobytes: number) => ({ dtype: 'U8' as const, shape: [kilobytes, 1000] });
  const sizes = (list: readonly number[], limit: number): number[][] =>
    shardsOf(list.map(tensor), limit).map((shard) => shard.map(({ shape }) => shape[0]!));
  assert.deepEqual(sizes([1, 2, 3], 6000), [[1, 2, 3]]);
  assert.deepEqual(sizes([1, 2, 3], 5999), [[1, 2], [3]]);
  assert.deepEqual(sizes([9, 1, 9, 1], 2000), [[9], [1], [9], [1]]);
  assert.deepEqual(sizes([], 10), [[]]);
});

test('folders are made with all that lie above; where none can be made that is an error, not a wait without end', async (t) => {
  const folder = temporaryFolder(t);
  const deep = path.join(folder, 'a', 'b', 'c');
  await Promise.all([nodeFileSystem.mkdir(deep), nodeFileSystem.mkdir(path.join(folder, 'a', 'b', 'd'))]);
  await nodeFileSystem.mkdir(deep);
  assert.deepEqual(readdirSync(path.join(folder, 'a', 'b')).sort(), ['c', 'd']);
  writeFileSync(path.join(folder, 'file'), '');
  await assert.rejects(nodeFileSystem.mkdir(path.join(folder, 'file')), { code: 'EEXIST' });
  await assert.rejects(nodeFileSystem.mkdir(path.join(folder, 'file', 'below')), { code: 'ENOTDIR' });
  if (process.platform === 'linux') await assert.rejects(nodeFileSystem.mkdir('/proc/lrqat/runs'), { code: 'ENOENT' });
});
