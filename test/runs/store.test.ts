import assert from 'node:assert/strict';
import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  changeNotes,
  createRun,
  diskUsage,
  readNotes,
  readStatus,
  RunStore,
  type CreatedRun,
  type RunDelta,
  type RunStatus,
} from '../../src/runs';
import { parseResult } from '../../src/runs/result';
import { newStatus, parseStatus } from '../../src/runs/status-file';
import { experimentNamed, temporaryFolder } from './support';

interface Place {
  readonly runsFolder: string;
  readonly store: RunStore;
  readonly deltas: RunDelta[];
  readonly create: (name: string) => Promise<CreatedRun>;
}

function place(context: TestContext): Place {
  const folder = temporaryFolder(context);
  const runsFolder = path.join(folder, '.lrqat', 'runs');
  const store = new RunStore({ reconcileInterval: 0 });
  const deltas: RunDelta[] = [];
  store.onDelta((delta) => deltas.push({ ...delta, added: [...delta.added], changed: [...delta.changed] }));
  context.after(() => store.dispose());
  const experimentFile = path.join(folder, 'x.lrqat.json');
  const create = (name: string): Promise<CreatedRun> =>
    createRun({ runsFolder, experiment: experimentNamed(name), experimentFile });
  return { runsFolder, store, deltas, create };
}

async function rewriteStatus(directory: string, change: Partial<RunStatus>): Promise<void> {
  const status = await readStatus(directory);
  writeFileSync(path.join(directory, 'status.json'), JSON.stringify({ ...status, ...change }));
}

const until = async (condition: () => boolean): Promise<void> => {
  const end = Date.now() + 120_000;
  while (!condition()) {
    assert.ok(Date.now() < end, 'in two minutes');
    await sleep(20);
  }
};

test('runs come, change and go as deltas', async (context) => {
  const { store, deltas, create, runsFolder } = place(context);
  const one = await create('one');
  await store.setFolders([runsFolder]);
  assert.deepEqual(
    deltas.map(({ added }) => added.map(({ name }) => name)),
    [[one.name]],
  );
  const entry = store.get(one.directory);
  assert.ok(entry?.kind === 'run');
  assert.equal(entry.state, 'starting');
  assert.equal(entry.origin.experimentName, 'one');
  assert.match(entry.origin.experimentFile ?? '', /x\.lrqat\.json$/);

  deltas.splice(0);
  await store.reconcile();
  assert.equal(deltas.length, 0, 'nothing has changed');
  await rewriteStatus(one.directory, { heartbeat: Date.now() + 1 });
  store.refreshLive();
  assert.equal(deltas.length, 0, 'a heartbeat changes nothing that is shown');
  await rewriteStatus(one.directory, { loss: 2.5, step: 3 });
  store.refreshLive();
  assert.equal(deltas.length, 1);
  assert.equal(deltas.at(0)?.changed[0]?.directory, one.directory);

  deltas.splice(0);
  rmSync(one.directory, { recursive: true });
  await store.reconcile();
  assert.deepEqual(deltas.at(0)?.removed, [one.directory]);
  assert.equal(store.entries.length, 0);
});

test('an ended run is read again when its files change, also by someone else', async (context) => {
  const { store, deltas, create, runsFolder } = place(context);
  const { directory } = await create('ended');
  await rewriteStatus(directory, { state: 'finished' });
  await store.setFolders([runsFolder]);
  assert.equal(store.live.length, 0);
  deltas.splice(0);
  await changeNotes(directory, { star: true, tags: ['a'] });
  await store.reconcile();
  const changed = deltas.at(0)?.changed[0];
  assert.ok(changed?.kind === 'run');
  assert.deepEqual(changed.notes, { star: true, tags: ['a'] });
  await changeNotes(directory, { star: false });
  assert.deepEqual(await readNotes(directory), { tags: ['a'] });
});

test('new runs are seen without asking, also in a folder that did not exist', async (context) => {
  const { store, create, runsFolder } = place(context);
  await store.setFolders([runsFolder]);
  assert.equal(store.entries.length, 0);
  const first = await create('first');
  await until(() => store.get(first.directory) !== undefined);
  const second = await create('second');
  await until(() => store.get(second.directory) !== undefined);
  rmSync(first.directory, { recursive: true });
  await until(() => store.get(first.directory) === undefined);
});

test('folders that look like runs and are none say why', async (context) => {
  const { store, create, runsFolder } = place(context);
  const [damaged, newer, half, unknown] = [await create('a'), await create('b'), await create('c'), await create('d')];
  writeFileSync(path.join(damaged.directory, 'status.json'), '{"sta');
  writeFileSync(path.join(newer.directory, 'status.json'), JSON.stringify({ schema: 9, state: 'dreaming' }));
  rmSync(path.join(half.directory, 'status.json'));
  const old = new Date(Date.now() - 60_000);
  utimesSync(half.directory, old, old);
  writeFileSync(path.join(unknown.directory, 'status.json'), JSON.stringify({ schema: 1, state: 'dreaming' }));
  mkdirSync(path.join(runsFolder, 'empty'));
  writeFileSync(path.join(runsFolder, 'file'), '');
  await store.setFolders([runsFolder]);
  const reasons = Object.fromEntries(
    store.entries.map((entry) => [entry.name, entry.kind === 'broken' ? entry.reason : '']),
  );
  assert.equal(Object.keys(reasons).length, 4);
  assert.match(reasons[damaged.name] ?? '', /damaged/);
  assert.match(reasons[newer.name] ?? '', /schema 9, newer than/);
  assert.match(reasons[half.name] ?? '', /status\.json is missing/);
  assert.match(reasons[unknown.name] ?? '', /state "dreaming"/);
});

test('a new run without a status yet is no broken one, until it has had time', async (context) => {
  const { store, create, runsFolder } = place(context);
  const run = await create('young');
  rmSync(path.join(run.directory, 'status.json'));
  await store.setFolders([runsFolder]);
  assert.equal(store.entries.length, 0);
  const old = new Date(Date.now() - 60_000);
  utimesSync(run.directory, old, old);
  await store.reconcile();
  assert.equal(store.get(run.directory)?.kind, 'broken');
});

test('disk usage counts checkpoints apart', async (context) => {
  const { create } = place(context);
  const { directory } = await create('size');
  const before = await diskUsage(directory);
  mkdirSync(path.join(directory, 'checkpoints', 'step-00000001'));
  writeFileSync(path.join(directory, 'checkpoints', 'step-00000001', 'adapter.safetensors'), Buffer.alloc(5000));
  const after = await diskUsage(directory);
  assert.equal(after.checkpoints, 5000);
  assert.equal(after.total - before.total, 5000);
});

test('a status and a result of which every field is damaged are still those of a run', () => {
  const damages = [null, 'text', -1, Infinity, true, [], {}, { step: 'x', message: 3 }, [[]]];
  const keys = Object.keys(newStatus('finished', 0, 0));
  for (const damage of damages) {
    const all = Object.fromEntries([...keys, 'gpu'].map((key) => [key, damage]));
    const status = parseStatus({ ...all, state: 'failed' });
    assert.ok(status !== null);
    for (const key of ['step', 'totalSteps', 'attempt', 'heartbeat', 'created', 'schema'] as const)
      assert.ok(Number.isFinite(status[key]), key);
    for (const key of ['started', 'ended', 'etaSeconds', 'loss', 'tokensPerSecond', 'lastCheckpoint'] as const)
      assert.ok(status[key] === null || Number.isFinite(status[key]), key);
    for (const key of ['memory', 'best', 'progress', 'error', 'acknowledged', 'queue'] as const)
      assert.equal(status[key], null, key);
    assert.ok(status.phase === null || typeof status.phase === 'string');
    const result = parseResult({ perplexity: {}, evaluations: { wikitext: damage }, float: damage, seconds: damage });
    assert.ok(result !== null && result.float === undefined);
    for (const four of Object.values(result.evaluations ?? {})) assert.equal(four.trained, null);
  }
});
