// Where tests of whole engines compute: the CPU, or with LRQAT_TEST_DEVICE=cuda the first GPU (its build must be there).

import assert from 'node:assert/strict';
import type { EngineConfig } from '../../native/binding/addon';
import { findCublasLt } from '../../src/launch/cublaslt';
import { findNative } from '../../src/launch/native-files';

export function testDevice(): Pick<EngineConfig, 'device'> {
  if (process.env['LRQAT_TEST_DEVICE'] !== 'cuda') return {};
  const { cuda } = findNative();
  const { file, searched } = findCublasLt();
  assert.ok(cuda !== null, 'LRQAT_TEST_DEVICE is cuda, but the CUDA backend is not built');
  assert.ok(file !== null, `cuBLASLt was not found; searched: ${searched.join(', ')}`);
  return { device: { type: 'cuda', index: 0, library: cuda, cublasLt: file } };
}
