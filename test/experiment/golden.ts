// Golden texts: output compared with a .txt beside the input; `.actual` is written on failure, and LRQAT_ACCEPT=1 takes the
// actual output as the new golden.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

export function assertGolden(goldenFile: string, actual: string): void {
  const actualFile = `${goldenFile}.actual`;
  if (process.env['LRQAT_ACCEPT'] === '1') {
    writeFileSync(goldenFile, actual);
    return;
  }
  const expected = existsSync(goldenFile) ? readFileSync(goldenFile, 'utf8') : undefined;
  if (expected === actual) {
    rmSync(actualFile, { force: true });
    return;
  }
  writeFileSync(actualFile, actual);
  assert.equal(actual, expected ?? '', `${goldenFile} differs; accept ${actualFile} by LRQAT_ACCEPT=1`);
}
