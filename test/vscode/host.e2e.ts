// The tests that run inside the extension host, on the extension of this clone.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Suite } from './suite';
import { Window } from './window';

let suite: Suite;

before(async () => {
  suite = await Suite.start();
});
after(() => suite.stop());

void test('mocha in the extension host', { timeout: 300_000 }, async () => {
  const tests = path.resolve('dist/host-tests/index.js');
  const folder = suite.sampleWorkspace(10);
  // A text that is evaluated in a moment.
  const validation = path.join(folder, 'validation.txt');
  writeFileSync(validation, readFileSync(validation, 'utf8').slice(0, 20_000));
  const options = { folder, development: path.resolve('.'), tests };
  const window = await Window.open(suite.browser, suite.server, options);
  assert.equal(await window.exited, 0, 'the list above says which failed');
});
