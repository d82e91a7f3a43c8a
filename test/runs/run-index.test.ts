import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { changeNotes, createRun, readStatus, RunStore, type RunEntry } from '../../src/runs';
import { readRunIndex, writeRunIndex, type RunIndexPlace } from '../../src/runs/run-index';
import { experimentNamed, temporaryFolder } from './support';

interface Place {
  readonly runsFolder: string;
  readonly index: RunIndexPlace;
  readonly ended: (name: string, state?: string) => Promise<string>;
  /** Everything that a new store finds. */
  readonly entries: () => Promise<readonly RunEntry[]>;
}

function place(context: TestContext): Place {
  const folder = temporaryFolder(context);
  const runsFolder = path.join(folder, '.lrqat', 'runs');
  const index = { file: path.join(folder, 'storage', 'runs.json'), version: '1.0.0' };
  const ended = async (name: string, state = 'finished'): Promise<string> => {
    const experimentFile = path.join(folder, 'x.lrqat.json');
    const { directory } = await createRun({ runsFolder, experiment: experimentNamed(name), experimentFile });
    const status = { ...(await readStatus(directory)), state, step: 10 };
    writeFileSync(path.join(directory, 'status.json'), JSON.stringify(status));
    return directory;
  };
  const entries = async (): Promise<readonly RunEntry[]> => {
    const store = new RunStore({ reconcileInterval: 0, index });
    try {
      await store.setFolders([runsFolder]);
      return store.entries;
    } finally {
      store.dispose();
    }
  };
  return { runsFolder, index, ended, entries };
}

/** What the store keeps by itself some seconds after it has read. */
async function write({ runsFolder, index }: Place): Promise<void> {
  const store = new RunStore({ reconcileInterval: 0 });
  await store.setFolders([runsFolder]);
  const { runSignature } = await import('../../src/runs/run-folder');
  await writeRunIndex(
    index,
    store.entries.map((entry) => ({ signature: runSignature(entry.directory), entry })),
  );
  store.dispose();
}

test('a new store takes ended runs from the index, and only those whose files are as they were', async (context) => {
  const here = place(context);
  const one = await here.ended('one');
  const two = await here.ended('two');
  const live = await here.ended('live', 'running');
  await changeNotes(one, { tags: ['kept'], star: true });
  await write(here);
  const read = await here.entries();
  assert.equal(read.length, 3);

  // Where a run comes from is no part of the signature: that it is still known shows that the index was used.
  for (const directory of [one, two, live]) rmSync(path.join(directory, 'provenance.json'));
  await changeNotes(two, { note: 'changed since' });
  const again = new Map((await here.entries()).map((entry) => [entry.directory, entry]));
  const origin = (directory: string): string | null => {
    const entry = again.get(directory);
    assert.ok(entry?.kind === 'run');
    return entry.origin.experimentFile;
  };
  assert.deepEqual(
    again.get(one),
    read.find(({ directory }) => directory === one),
  );
  assert.ok(origin(one)?.endsWith('x.lrqat.json'));
  assert.equal(origin(two), null);
  assert.equal(origin(live), null);
  const changed = again.get(two);
  assert.ok(changed?.kind === 'run');
  assert.equal(changed.notes.note, 'changed since');

  rmSync(one, { recursive: true });
  assert.deepEqual((await here.entries()).map(({ directory }) => directory).sort(), [two, live].sort());
});

test('an index of another version, a damaged one and one with damaged runs are no index', async (context) => {
  const here = place(context);
  const { index } = here;
  const one = await here.ended('one');
  await write(here);
  assert.equal((await readRunIndex(index)).size, 1);
  assert.equal((await readRunIndex({ ...index, version: '1.0.1' })).size, 0);
  const text = readFileSync(index.file, 'utf8');
  for (const damaged of ['', text.slice(0, -9), 'null', '[]', '{"version":"1.0.0"}', '{"version":"1.0.0","runs":{}}']) {
    writeFileSync(index.file, damaged);
    assert.equal((await readRunIndex(index)).size, 0, damaged);
    assert.equal((await here.entries()).length, 1);
  }
  const { runs } = JSON.parse(text) as { readonly runs: readonly Record<string, unknown>[] };
  for (const [key, value] of Object.entries({ directory: 1, signature: null, status: { state: 'x' }, origin: 7 })) {
    const run = { ...runs[0], [key]: value };
    writeFileSync(index.file, JSON.stringify({ version: '1.0.0', runs: [null, run, 3] }));
    assert.equal((await readRunIndex(index)).size, 0, key);
  }
  rmSync(index.file);
  mkdirSync(index.file);
  assert.deepEqual(
    (await here.entries()).map(({ directory }) => directory),
    [one],
  );
});
