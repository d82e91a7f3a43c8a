// A sweep in the editor: asked, queued, and trained to its end over a reload of the window and a killed trainer.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pictured, Suite, until } from './suite';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
let window: Window | undefined;

/** The first run trains until it is killed, the others only for a moment. */
const SWEEP = '"sweep": { "training.steps": [1000000, 30, 31, 32] },';

before(async () => {
  suite = await Suite.start();
  workspace = suite.sampleWorkspace(600);
  const file = path.join(workspace, 'w2-rank32.lrqat.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"training": {', `${SWEEP}\n  "training": {`));
  window = await suite.open({ folder: workspace });
});
after(async () => {
  // No trainer survives a failed test.
  for (const directory of directories()) {
    try {
      const { pid } = JSON.parse(readFileSync(path.join(directory, 'owner.json'), 'utf8')) as { pid: number };
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended in order, or was killed by the test.
    }
  }
  await suite.stop();
});

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 300_000 }, () =>
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

function directories(): string[] {
  const folder = path.join(workspace, '.lrqat', 'runs');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => existsSync(path.join(folder, name, 'status.json')))
    .sort()
    .map((name) => path.join(folder, name));
}

const statusOf = (directory: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path.join(directory, 'status.json'), 'utf8')) as Record<string, unknown>;
const states = (): unknown[] => directories().map((directory) => statusOf(directory)['state']);

step('Start Training asks what a sweep comes to, as the line above it says, and queues its four runs', async (w) => {
  await w.activity('LR-QAT');
  await w.openFile('w2-rank32.lrqat.json');
  // Not saved: Start Training does.
  await w.page.locator('.monaco-editor .view-line').first().click();
  await w.page.keyboard.press('Control+Home');
  await w.page.keyboard.type('// All widths. ');
  const line = w.page.locator('.codelens-decoration', { hasText: /4 runs.*one after the other/ });
  await line.waitFor();
  const said = async (): Promise<string | undefined> =>
    /≈ (.*?) one after the other/.exec((await line.innerText()).replaceAll('\u00a0', ' '))?.[1];
  const dialog = w.dialog();
  const ask = async (): Promise<string | undefined> => {
    await w.command('LR-QAT: Start Training');
    await dialog.getByText('Queue the 4 runs of w2-rank32?').waitFor({ timeout: 60_000 });
    await dialog.getByText(/one after the other[\s\S]*Up to .* of disk/).waitFor();
    return /About (.*) one after the other/.exec(await dialog.innerText())?.[1];
  };
  for (let attempt = 1; ; attempt++) {
    const asked = await ask();
    assert.ok(asked !== undefined);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'detached' });
    try {
      await until(async () => (await said()) === asked, `the line says ${asked}`, 15_000);
      break;
    } catch (error) {
      // How fast the machine is may have been measured in between.
      if (attempt === 4) throw error;
    }
  }
  assert.match(readFileSync(path.join(workspace, 'w2-rank32.lrqat.json'), 'utf8'), /^\/\/ All widths\. /);
  assert.equal(states().length, 0, 'nothing is queued before the answer');
  await ask();
  await dialog.getByRole('button', { name: 'Queue 4 Runs' }).click();
  await until(() => states().filter((state) => state === 'queued').length === 3, 'three wait', 60_000);
  await until(() => Number(statusOf(directories()[0] ?? '')['step']) > 0, 'the first trains', 60_000);
  await w.tree(/steps32\s*queued · number 3 of 3/).waitFor();
  await w.status(/3 queued/).waitFor();
});

step('a waiting run is moved to the front', async (w) => {
  await w.command('LR-QAT: Show Queue');
  const [, , , last = ''] = directories();
  // In the explorer the row above sums up what trains and is drawn all the time; rows of the queue stand still.
  await w.menuOf(w.tree(/steps32\s*number 3/), /^Move to the Front of the Queue$/, w.tree(/steps32\s*number 1/));
  const file = path.join(workspace, '.lrqat', 'runs', '.queue', 'queue.json');
  await until(() => {
    const { order } = JSON.parse(readFileSync(file, 'utf8')) as { order: string[] };
    return order[0] === path.basename(last);
  }, 'the last is the first');
});

step('after a reload and a killed trainer the window restarts the queue, and all the others finish', async (w) => {
  await w.reload();
  await w.status(/3 queued/).waitFor({ timeout: 60_000 });
  const [first = '', ...others] = directories();
  const owner = JSON.parse(readFileSync(path.join(first, 'owner.json'), 'utf8')) as { pid: number };
  process.kill(owner.pid, 'SIGKILL');
  await until(() => others.every((directory) => statusOf(directory)['state'] === 'finished'), 'all finish', 120_000);
  const started = others.map((directory) => Number(statusOf(directory)['started']));
  assert.ok((started[2] ?? 0) < (started[0] ?? 0), 'the one that was moved went first');
  await w
    .toast(/has crashed at step/)
    .first()
    .waitFor();
});
