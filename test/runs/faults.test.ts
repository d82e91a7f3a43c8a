// A fault at every single call that changes the disk: whatever fails, nothing half-written is taken for whole, and the run can
// go on afterwards.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkpointDirectory,
  createRun,
  describeFailure,
  DONE_FILE,
  findRun,
  latestComplete,
  listCheckpoints,
  pruneCheckpoints,
  readState,
  readStatus,
  RunReader,
  RunWriter,
  type StepEvent,
} from '../../src/runs';
import { nodeFileSystem, writeFile, type FileSystem } from '../../src/formats/file-system';
import { experimentNamed, faultyFileSystem, temporaryFolder, type FaultPlan } from './support';

const step = (number: number): StepEvent => ({
  type: 'step',
  step: number,
  loss: 1,
  learningRate: { lowRank: 0, scales: 0 },
  gradientNorm: 1,
  tokens: 1,
  tokensPerSecond: 1,
  memory: { engine: 0, resident: 0 },
  time: 0,
});

async function createIn(folder: string, fileSystem: FileSystem = nodeFileSystem): Promise<string> {
  const options = { runsFolder: path.join(folder, '.lrqat', 'runs'), experiment: experimentNamed('faults') };
  return (await createRun({ ...options, experimentFile: path.join(folder, 'x.lrqat.json'), fileSystem })).directory;
}

test('creation that fails at any call leaves no run behind', async (context) => {
  const counting = faultyFileSystem(null);
  await createIn(temporaryFolder(context), counting);
  assert.ok(counting.calls.length > 10);
  for (let at = 1; at <= counting.calls.length; at++) {
    const folder = temporaryFolder(context);
    await assert.rejects(createIn(folder, faultyFileSystem({ at, code: 'EIO' })), /EIO/, counting.calls[at - 1]);
    const runs = path.join(folder, '.lrqat', 'runs');
    assert.deepEqual(existsSync(runs) ? readdirSync(runs) : [], [], `after ${String(counting.calls[at - 1])}`);
  }
});

/** What a trainer does, in short. */
async function session(run: string, fileSystem: FileSystem): Promise<void> {
  const writer = await RunWriter.open(run, { fileSystem, heartbeatInterval: 1_000_000, statusInterval: 1_000_000 });
  try {
    writer.update({ state: 'running', phase: null });
    await writer.writeStatus();
    for (let number = 1; number <= 3; number++) await writer.event(step(number));
    await writer.layers([
      { type: 'layer', step: 3, name: 'x', clippedShare: 0, flipped: 0, weights: 1, scaleDrift: 0 },
    ]);
    await writer.updateProvenance({ device: { name: 'cpu' } });
    await writer.end('finished');
  } catch (error) {
    await writer.end('failed', describeFailure(error, run));
    throw error;
  }
}

/** Whatever has happened: all files are whole, and a healthy session afterwards works. */
async function checkAfter(run: string, plan: FaultPlan, call: string): Promise<void> {
  const where = `${plan.code} at call ${String(plan.at)}: ${call}`;
  for (const name of ['status.json', 'experiment.json', 'provenance.json']) {
    assert.doesNotThrow(() => void JSON.parse(readFileSync(path.join(run, name), 'utf8')), `${name} after ${where}`);
  }
  assert.ok(!existsSync(path.join(run, 'owner.json')), `owner released after ${where}`);
  const reader = new RunReader(run);
  const before = await reader.poll();
  assert.notEqual(before.state, 'running', where);
  const written = before.events.filter((event) => event.type === 'step').length;
  assert.ok(written <= 3);
  await session(run, nodeFileSystem);
  const after = await reader.poll();
  assert.equal(after.state, 'finished', where);
  assert.equal(after.events.filter((event) => event.type === 'step').length, 3, `later lines are whole after ${where}`);
}

for (const plan of [
  { code: 'EIO' },
  { code: 'ENOSPC', partial: true },
  { code: 'ENOSPC', persistent: true, partial: true },
] as const) {
  const name = `${plan.code}${'persistent' in plan ? ' for good' : ''}${'partial' in plan ? ' in mid-write' : ''}`;
  test(`a session with ${name} at any call fails clearly and can be repeated`, { timeout: 60_000 }, async (context) => {
    const folder = temporaryFolder(context);
    const counting = faultyFileSystem(null);
    await session(await createIn(folder), counting);
    assert.ok(counting.calls.length > 20);
    for (let at = 1; at <= counting.calls.length; at++) {
      const run = await createIn(folder);
      const faulty = faultyFileSystem({ ...plan, at });
      const failed = await session(run, faulty).then(
        () => false,
        () => true,
      );
      const call = counting.calls[at - 1] ?? '';
      const status = await readStatus(run);
      // A status that could be written says what went wrong. Only the final status write itself, or a full disk on which even
      // that fails, may leave an older one; then the missing owner tells.
      if (failed && status?.state === 'failed') assert.match(status.error?.message ?? '', /EIO|no space left/, call);
      await checkAfter(run, { ...plan, at }, call);
    }
  });
}

test('a full disk: the space set aside lets the run say why it failed', async (context) => {
  const run = await createIn(temporaryFolder(context));
  // Full from the third event on, until the reserve is given up.
  let full = false;
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    open: async (file, flags) => {
      const handle = await nodeFileSystem.open(file, flags);
      return {
        read: (...args) => handle.read(...args),
        write: (...args) => {
          const hasRoom = !full || !existsSync(path.join(run, '.reserve'));
          if (!hasRoom)
            return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));
          return handle.write(...args);
        },
        stat: () => handle.stat(),
        truncate: (length) => handle.truncate(length),
        datasync: () => handle.datasync(),
        close: () => handle.close(),
      };
    },
  };
  const writer = await RunWriter.open(run, { fileSystem });
  await writer.event(step(1));
  full = true;
  const error = await writer.event(step(2)).then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof Error);
  await writer.end('failed', describeFailure(error, run));
  const { status, state } = await readState(run);
  assert.equal(state, 'failed');
  assert.ok(status.error !== null);
  assert.equal(status.error.code, 'DiskFull');
  assert.match(status.error.hint ?? '', /lrqat resume/);
  assert.equal(findRun(run, ''), run);
});

test('pruning keeps the newest and the best; incomplete checkpoints never count', async (context) => {
  const run = await createIn(temporaryFolder(context));
  for (const number of [100, 200, 300, 400, 500]) {
    const directory = checkpointDirectory(run, number);
    await nodeFileSystem.mkdir(directory);
    await writeFile(nodeFileSystem, path.join(directory, 'adapter.safetensors'), 'x');
    if (number !== 200 && number !== 500) await writeFile(nodeFileSystem, path.join(directory, DONE_FILE), '');
  }
  assert.equal((await latestComplete(run))?.step, 400);
  assert.deepEqual(await pruneCheckpoints(run, 1, 100), [200, 300]);
  assert.deepEqual(
    (await listCheckpoints(run)).map(({ step: at, complete }) => [at, complete]),
    [
      [100, true],
      [400, true],
      [500, false],
    ],
    'one being written (newer than all complete ones) is left alone',
  );
  assert.deepEqual(await pruneCheckpoints(run, 0, null), [100], 'the newest stays whatever is asked');
});

test('a writer whose folder is removed says so, and leaves none behind', { timeout: 120_000 }, async (context) => {
  const run = await createIn(temporaryFolder(context));
  const writer = await RunWriter.open(run, { heartbeatInterval: 20 });
  writer.requireFolder();
  rmSync(run, { recursive: true, maxRetries: 5 });
  const gone = (): boolean => writer.gone.aborted;
  while (!gone()) await sleep(10);
  const reason: unknown = writer.gone.reason;
  assert.match(describeFailure(reason, run).message, /was removed or renamed/);
  assert.equal(describeFailure(Object.assign(new Error('x'), { code: 'ENOENT' }), run).code, 'RunRemoved');
  assert.throws(() => writer.requireFolder(), { code: 'RunRemoved' });
  await writer.end('failed', describeFailure(reason, run));
  assert.ok(!existsSync(run));
});
