import assert from 'node:assert/strict';
import { existsSync, statfsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { freeSpace } from '../../src/formats/free-space';

test('free space is that of the disk a folder is or will be on', async () => {
  const { bavail, blocks, bsize } = statfsSync(os.tmpdir());
  const here = await freeSpace(path.join(os.tmpdir(), 'lrqat-none', 'deeper'));
  assert.ok(here !== null && here > 0 && here <= blocks * bsize, `${String(here)} of ${String(bavail * bsize)}`);
});

test('what is no storage does not say', { skip: existsSync('/proc/self') ? false : 'no /proc here' }, async () => {
  assert.equal(await freeSpace('/proc'), null);
});
