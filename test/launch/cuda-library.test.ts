// The CUDA library as it is shipped, where it has been built.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';

import { findNative } from '../../src/launch/native-files';

const { cuda } = findNative();
const skip = cuda === null ? 'no CUDA backend' : process.platform === 'linux' ? false : 'ELF files alone';

test('the CUDA library has the C++ runtime inside and opens the libraries of CUDA by itself', { skip }, () => {
  if (cuda === null) return;
  const { stdout, status } = spawnSync('objdump', ['-p', cuda], { encoding: 'utf8' });
  assert.equal(status, 0);
  const needed = [...stdout.matchAll(/NEEDED +(\S+)/g)].map(([, library]) => library);
  assert.ok(needed.includes('libc.so.6'), needed.join(' '));
  for (const library of needed) assert.doesNotMatch(library ?? '', /stdc\+\+|libgcc_s|libcuda|cublas/);
});
