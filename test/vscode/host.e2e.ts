// The tests that run inside the extension host, on the extension of this clone.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Suite } from './suite';
import { Window } from './window';

let suite: Suite;

before(async () => {
  suite = await Suite.start();
});
after(() => suite.stop());

void test('mocha in the extension host', { timeout: 120_000 }, async () => {
  const tests = path.resolve('dist/host-tests/index.js');
  const options = { folder: suite.sampleWorkspace(10), development: path.resolve('.'), tests };
  const window = await Window.open(suite.browser, suite.server, options);
  assert.equal(await window.exited, 0, 'the list above says which failed');
});
