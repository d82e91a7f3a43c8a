// The queue as files: order, slots, claims by several processes at a time, what is left after a crash or a reboot.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  appendToQueue,
  cancelQueued,
  claimNext,
  createRun,
  enqueue,
  hasQueue,
  moved,
  moveInQueue,
  orderOf,
  queuePaths,
  queueRuns,
  readQueue,
  readState,
  recordEnd,
  runPaths,
  RunWriter,
  setParallel,
} from '../../src/runs';
import { withQueueLock } from '../../src/runs/queue-file';
import { bundleScript, experimentNamed, startScript, temporaryFolder, type RunningScript } from './support';

async function queueOfRuns(
  context: TestContext,
  count: number,
  device = 'cpu',
): Promise<{ runs: string; names: string[] }> {
  const folder = temporaryFolder(context);
  const runs = path.join(folder, 'runs');
  const names: string[] = [];
  for (let index = 0; index < count; index++) {
    const { name } = await createRun({
      runsFolder: runs,
      experiment: experimentNamed(`run${String(index)}`),
      experimentFile: path.join(folder, 'x.lrqat.json'),
      queuedFor: device,
      now: () => 1_000_000_000_000 + index * 1000,
    });
    names.push(name);
  }
  await appendToQueue(runs, names);
  return { runs, names };
}

async function waiting(runs: string): Promise<string[]> {
  return (await readQueue(runs)).waiting.map(({ name }) => name);
}

void test('order: as written, lost ones at the end by age, gone ones left out', () => {
  assert.deepEqual(orderOf(['c', 'a', 'gone', 'c'], ['a', 'b', 'c', 'd']), ['c', 'a', 'b', 'd']);
  assert.deepEqual(orderOf([], ['b', 'a']), ['a', 'b']);
});

void test('moves keep the others and the order of what moves', () => {
  const order = ['a', 'b', 'c', 'd'];
  assert.deepEqual(moved(order, ['c'], 'up'), ['a', 'c', 'b', 'd']);
  assert.deepEqual(moved(order, ['a'], 'up'), order);
  assert.deepEqual(moved(order, ['b', 'c'], 'up'), ['b', 'c', 'a', 'd']);
  assert.deepEqual(moved(order, ['a', 'b'], 'up'), order);
  assert.deepEqual(moved(order, ['b'], 'down'), ['a', 'c', 'b', 'd']);
  assert.deepEqual(moved(order, ['c', 'd'], 'down'), order);
  assert.deepEqual(moved(order, ['d', 'b'], 'first'), ['b', 'd', 'a', 'c']);
  assert.deepEqual(moved(order, ['a'], 'last'), ['b', 'c', 'd', 'a']);
  assert.deepEqual(moved(order, ['d'], 2), ['a', 'd', 'b', 'c']);
  assert.deepEqual(moved(order, ['a'], 99), ['b', 'c', 'd', 'a']);
  assert.deepEqual(moved(order, ['nobody'], 'first'), order);
});

void test('a queue is filled, moved, cancelled and filled again', async (context) => {
  const { runs, names } = await queueOfRuns(context, 3);
  const [first, second, third] = names as [string, string, string];
  assert.deepEqual(await waiting(runs), names);
  await moveInQueue(runs, [third], 'first');
  assert.deepEqual(await waiting(runs), [third, first, second]);
  assert.equal(await cancelQueued(path.join(runs, first)), true);
  assert.equal(await cancelQueued(path.join(runs, first)), false);
  assert.equal((await readState(path.join(runs, first))).state, 'stopped');
  assert.deepEqual(await waiting(runs), [third, second]);
  await assert.rejects(moveInQueue(runs, [first], 'up'), { code: 'RunNotQueued' });
  await enqueue(path.join(runs, first), 'cpu');
  assert.deepEqual(await waiting(runs), [third, second, first]);
  await assert.rejects(enqueue(path.join(runs, first), 'cpu'), { code: 'RunNotQueued' });
  await assert.rejects(setParallel(runs, 0), { code: 'BadParallel' });
});

void test('a damaged or missing queue.json loses the order, not the runs', async (context) => {
  const { runs, names } = await queueOfRuns(context, 3);
  await moveInQueue(runs, [names[2]!], 'first');
  writeFileSync(queuePaths(runs).file, '{ "order": [');
  assert.deepEqual(await waiting(runs), names);
  rmSync(queuePaths(runs).file);
  assert.equal(hasQueue(runs), false);
  assert.deepEqual(await waiting(runs), names);
});

void test('claims follow the order, each device has its own slots', async (context) => {
  const { runs, names } = await queueOfRuns(context, 3);
  const gpu = await createRun({
    runsFolder: runs,
    experiment: experimentNamed('gpu'),
    experimentFile: 'x.lrqat.json',
    queuedFor: 'cuda:0',
  });
  await appendToQueue(runs, [gpu.name]);
  assert.equal((await claimNext(runs))?.directory, path.join(runs, names[0]!));
  assert.equal((await claimNext(runs))?.directory, gpu.directory, 'the CPU is taken, the GPU is not');
  assert.equal(await claimNext(runs), null);
  assert.equal((await readState(gpu.directory)).state, 'starting');
  await setParallel(runs, 2);
  assert.equal((await claimNext(runs))?.directory, path.join(runs, names[1]!));
  assert.equal(await claimNext(runs), null);
  await recordEnd(path.join(runs, names[0]!), 'failed', null);
  assert.equal((await claimNext(runs))?.directory, path.join(runs, names[2]!), 'a failed run leaves its slot');
  assert.deepEqual(await waiting(runs), []);
});

void test('runs of a sweep are dealt out to all devices they may wait for', async (context) => {
  const folder = temporaryFolder(context);
  const runs = ['a', 'b', 'c'].map((name) => ({ experiment: experimentNamed(name), values: { seed: name } }));
  const runsFolder = path.join(folder, 'runs');
  await queueRuns(runs, {
    ...{ runsFolder, experimentFile: path.join(folder, 'x.lrqat.json'), command: [] },
    devicesOf: () => Promise.resolve(['cuda:1', 'cuda:0']),
  });
  const { waiting: queued } = await readQueue(runsFolder);
  assert.deepEqual(
    queued.map(({ status }) => status.queue?.device),
    ['cuda:1', 'cuda:0', 'cuda:1'],
  );
});

void test('a run that was started by hand takes room as well', async (context) => {
  const { runs, names } = await queueOfRuns(context, 1);
  const hand = await createRun({
    runsFolder: runs,
    experiment: experimentNamed('hand'),
    experimentFile: 'x.lrqat.json',
  });
  const writer = await RunWriter.open(hand.directory);
  try {
    writer.update({ state: 'running' });
    await writer.writeStatus();
    assert.equal(await claimNext(runs), null);
  } finally {
    await writer.end('stopped');
  }
  assert.equal((await claimNext(runs))?.directory, path.join(runs, names[0]!));
});

const CLAIM = `
import { existsSync } from 'node:fs';
import { claimNext } from './src/runs';
const [runs, go] = process.argv.slice(2);
console.log('ready');
while (!existsSync(go)) await new Promise((resolve) => setTimeout(resolve, 2));
for (;;) {
  const claim = await claimNext(runs);
  if (claim === null) break;
  console.log('claimed ' + claim.directory);
}
console.log('done');
// Alive until killed: a starter that has died before its trainer came gives its claim up.
setInterval(() => undefined, 1000);
`;

void test(
  'processes that claim at one moment share the room, and no run is given out twice',
  { timeout: 120_000 },
  async (context) => {
    const { runs, names } = await queueOfRuns(context, 8);
    await setParallel(runs, 3);
    const script = await bundleScript(path.dirname(runs), 'claim', CLAIM);
    const go = path.join(path.dirname(runs), 'go');
    const started: RunningScript[] = [];
    const claimed: string[] = [];
    try {
      for (let index = 0; index < 4; index++) started.push(await startScript(script, [runs, go], /^ready$/));
      for (const { child } of started) {
        child.stdout?.on('data', (text: Buffer) => claimed.push(...(text.toString().match(/claimed \S+/g) ?? [])));
      }
      writeFileSync(go, '');
      await Promise.all(started.map((each) => each.line(/^done$/)));
      assert.deepEqual(claimed.map((text) => path.basename(text)).sort(), names.slice(0, 3));
      assert.deepEqual(await waiting(runs), names.slice(3));
      assert.equal(readdirSync(queuePaths(runs).slots).length, 3);
    } finally {
      for (const { child } of started) child.kill('SIGKILL');
      await Promise.all(started.map(({ ended }) => ended));
    }
    // Their starters are dead and no trainer ever came: the three go back to the head, and are given out again.
    const again = [await claimNext(runs), await claimNext(runs), await claimNext(runs)];
    assert.deepEqual(again.map((claim) => path.basename(claim?.directory ?? '')).sort(), names.slice(0, 3));
    assert.equal(await claimNext(runs), null);
    assert.equal((await waiting(runs)).length, 5);
  },
);

void test('after a reboot: what ran has crashed, what was about to start waits again, the next one starts', async (context) => {
  const { runs, names } = await queueOfRuns(context, 4);
  await setParallel(runs, 2);
  const running = await claimNext(runs);
  const starting = await claimNext(runs);
  assert.ok(running && starting);
  const writer = await RunWriter.open(running.directory);
  writer.update({ state: 'running' });
  await writer.writeStatus();
  const owner = readFileSync(runPaths(running.directory).owner, 'utf8');
  const status = readFileSync(runPaths(running.directory).status, 'utf8');
  await writer.end('stopped');
  // The disk as the power failure left it, seen under the boot id of the next start.
  const otherBoot = (text: string): string =>
    JSON.stringify({ ...(JSON.parse(text) as object), bootId: '00000000-0000-0000-0000-000000000000' });
  writeFileSync(runPaths(running.directory).status, status);
  writeFileSync(runPaths(running.directory).owner, otherBoot(owner));
  const { slots } = queuePaths(runs);
  for (const name of readdirSync(slots)) {
    const file = path.join(slots, name);
    writeFileSync(file, otherBoot(readFileSync(file, 'utf8')));
  }
  assert.equal((await readState(running.directory)).state, 'crashed');
  assert.deepEqual(
    [(await claimNext(runs))?.directory, (await claimNext(runs))?.directory],
    [starting.directory, path.join(runs, names[2]!)],
  );
  assert.deepEqual(await waiting(runs), [names[3]]);
  // The one that crashed goes on from where it was saved when it is queued again.
  await enqueue(running.directory, 'cpu');
  assert.deepEqual(await waiting(runs), [names[3], names[0]]);
});

void test('a lock whose holder has died is taken over, and a slot that a power failure emptied is free', async (context) => {
  const { runs } = await queueOfRuns(context, 2);
  const { lock, slots } = queuePaths(runs);
  await withQueueLock(runs, () => {
    const held = JSON.parse(readFileSync(lock, 'utf8')) as Record<string, unknown>;
    // A process that has ended: of this boot, with a start time that no process has.
    writeFileSync(
      path.join(path.dirname(lock), 'dead.json'),
      JSON.stringify({ ...held, processStart: '1', id: 'abcd' }),
    );
    return Promise.resolve();
  });
  writeFileSync(lock, readFileSync(path.join(path.dirname(lock), 'dead.json')));
  const claim = await claimNext(runs);
  assert.ok(claim !== null);
  assert.equal(existsSync(lock), false);
  mkdirSync(slots, { recursive: true });
  const [slot] = readdirSync(slots);
  writeFileSync(path.join(slots, slot!), '');
  await recordEnd(claim.directory, 'stopped', null);
  assert.ok((await claimNext(runs)) !== null);
});
