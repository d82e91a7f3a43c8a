// The way of a new user: the sample from the palette to its end, against the packaged extension.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pictured, Suite } from './suite';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
let window: Window | undefined;

before(async () => {
  suite = await Suite.start();
  workspace = suite.sampleWorkspace(40);
  window = await suite.open({ folder: workspace });
});
after(() => suite.stop());

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 90_000 }, () =>
    pictured(
      () => window,
      name,
      async () => {
        assert.ok(window !== undefined);
        await body(window);
      },
    ),
  );
};

const runsFolder = (): string => path.join(workspace, '.lrqat', 'runs');
const status = (): { readonly state: string; readonly step: number } => {
  const [name] = readdirSync(runsFolder());
  assert.ok(name !== undefined);
  return JSON.parse(readFileSync(path.join(runsFolder(), name, 'status.json'), 'utf8')) as ReturnType<typeof status>;
};

step('the explorer shows the sample without runs', async (w) => {
  await w.activity('LR-QAT');
  await w.tree('w2-rank32').filter({ hasText: 'no runs yet' }).waitFor();
});

step('Start Training from the palette trains until the end', async (w) => {
  await w.command('LR-QAT: Start Training');
  await w.tree(/%.*loss/).waitFor({ timeout: 60_000 });
  assert.ok(['running', 'starting'].includes(status().state));
  await w.status(/w2-rank32 \d+%/).waitFor();
  await w.tree(/ppl .* of the gap/).waitFor({ timeout: 60_000 });
  assert.equal(status().state, 'finished');
  await w.toast(/w2-rank32 has finished: perplexity/).waitFor();
});
