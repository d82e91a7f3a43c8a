// What README promises of the demo, on the real binary: rounding the sample to two bits costs it about half of its perplexity,
// training wins back 40 % of that and more, and the merged integers lose nothing.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { CLI, lrqat, SAMPLE } from '../cli/support';

interface Result {
  readonly perplexity: Record<'float' | 'roundToNearest' | 'trained' | 'merged', number>;
  readonly gapClosed: number;
  readonly bitsPerWeight: number;
}

test(
  'the demo closes at least 40 % of the gap',
  { skip: existsSync(CLI) ? false : 'dist/cli.js is not built' },
  async () => {
    const runs = mkdtempSync(path.join(os.tmpdir(), 'lrqat-sample-'));
    try {
      const { code, stdout, stderr } = await lrqat(['train', SAMPLE, '--runs', runs, '--foreground']);
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      const [run] = readdirSync(runs).filter((name) => existsSync(path.join(runs, name, 'result.json')));
      assert.ok(run !== undefined, stdout);
      const result = JSON.parse(readFileSync(path.join(runs, run, 'result.json'), 'utf8')) as Result;
      const { float, roundToNearest, trained, merged } = result.perplexity;
      const shown = JSON.stringify(result.perplexity);
      assert.ok(roundToNearest / float > 1.4 && roundToNearest / float < 1.6, shown);
      assert.ok(trained < roundToNearest, shown);
      assert.equal(merged, trained);
      assert.ok(result.gapClosed >= 0.4, shown);
      assert.ok(result.bitsPerWeight < 2.2);
      assert.match(stdout, /round-to-nearest +7\d\.\d+/);
    } finally {
      rmSync(runs, { recursive: true, force: true });
    }
  },
);
