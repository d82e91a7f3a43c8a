import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { createRun, prepareRestart, readState, recordEnd, RunWriter, sendControl, takeOwnership } from '../../src/runs';
import { nodeFileSystem, type FileSystem } from '../../src/formats/file-system';
import { bundleScript, experimentNamed, startScript, temporaryFolder } from './support';

async function newRun(context: TestContext): Promise<{ folder: string; run: string }> {
  const folder = temporaryFolder(context);
  const options = { runsFolder: path.join(folder, 'runs'), experiment: experimentNamed('owner') };
  const { directory } = await createRun({ ...options, experimentFile: path.join(folder, 'x.lrqat.json') });
  return { folder, run: directory };
}

const hold = `
  import { RunWriter } from './src/runs';
  const writer = await RunWriter.open(process.argv[2] ?? '', { heartbeatInterval: 100 });
  writer.update({ state: 'running' });
  await writer.writeStatus();
  console.log('owner');
  setInterval(() => {}, 1000);
`;

test(
  'a live owner is refused by name; a killed one is crashed, and replaced',
  { timeout: 120_000 },
  async (context) => {
    const { folder, run } = await newRun(context);
    const script = await bundleScript(folder, 'hold', hold);
    const { child, ended } = await startScript(script, [run], /owner/);
    assert.equal((await readState(run)).state, 'running');
    await assert.rejects(RunWriter.open(run), {
      code: 'RunInUse',
      message: new RegExp(`process ${String(child.pid)} on`),
    });
    await assert.rejects(prepareRestart(run), { code: 'RunInUse' });
    child.kill('SIGKILL');
    await ended;
    assert.equal((await readState(run)).state, 'crashed');
    const writer = await RunWriter.open(run);
    assert.equal(writer.status.attempt, 2);
    assert.equal((await readState(run)).state, 'starting');
    await writer.end('stopped');
    assert.equal((await readState(run)).state, 'stopped');
    assert.deepEqual(
      readdirSync(run).filter((name) => name.startsWith('.') || name === 'owner.json'),
      [],
      'no owner and no temporary files are left',
    );
  },
);

test('an owner that has written its end is waited for, but not for ever', { timeout: 120_000 }, async (context) => {
  const { folder, run } = await newRun(context);
  const script = await bundleScript(
    folder,
    'leave',
    `
    import { RunWriter } from './src/runs';
    const writer = await RunWriter.open(process.argv[2] ?? '');
    writer.update({ state: 'stopped' });
    await writer.writeStatus();
    console.log('ended');
    process.on('SIGTERM', () => setTimeout(() => process.exit(), 300));
    setInterval(() => {}, 1000);
  `,
  );
  const { child, ended } = await startScript(script, [run], /ended/);
  context.after(() => child.kill('SIGKILL'));
  assert.equal((await readState(run)).state, 'stopped');
  await assert.rejects(prepareRestart(run, { leaving: 100 }), { code: 'RunInUse' });
  child.kill('SIGTERM');
  await prepareRestart(run, { leaving: 60_000 });
  assert.equal((await readState(run)).status.state, 'starting');
  await ended;
});

test('of many processes that find a dead owner exactly one replaces it', { timeout: 180_000 }, async (context) => {
  const { folder, run } = await newRun(context);
  const script = await bundleScript(
    folder,
    'race',
    `
    import { takeOwnership } from './src/runs';
    console.log('ready');
    await new Promise((resolve) => setTimeout(resolve, Number(process.argv[3]) - Date.now()));
    const won = await takeOwnership(process.argv[2] ?? '').then(() => true, (error) => {
      if (error.code !== 'RunInUse') throw error;
      return false;
    });
    console.log(won ? 'won' : 'lost');
    // Stay alive until all have tried: an owner that has ended may rightly be replaced.
    setInterval(() => {}, 1000);
  `,
  );
  for (let round = 0; round < 3; round++) {
    // The owner of the round before is dead by now; in the first round there is none.
    const start = String(Date.now() + 1200);
    const racers = await Promise.all(Array.from({ length: 6 }, () => startScript(script, [run, start], /ready/)));
    const results = await Promise.all(racers.map((racer) => racer.line(/won|lost/)));
    assert.deepEqual(results.sort(), ['lost', 'lost', 'lost', 'lost', 'lost', 'won'], `round ${String(round)}`);
    for (const { child, ended } of racers) {
      child.kill('SIGKILL');
      await ended;
    }
  }
});

test('an owner on another host is trusted while its heartbeat is fresh, stale after a minute', async (context) => {
  const { run } = await newRun(context);
  const time = 1_000_000;
  const owner = { host: 'another-host', bootId: 'x', pidNamespace: null, pid: 1, processStart: '1', id: 'abcd', time };
  writeFileSync(path.join(run, 'owner.json'), JSON.stringify(owner));
  const status = JSON.parse(readFileSync(path.join(run, 'status.json'), 'utf8')) as object;
  writeFileSync(path.join(run, 'status.json'), JSON.stringify({ ...status, state: 'running', heartbeat: time }));
  assert.equal((await readState(run, () => time + 59_000)).state, 'running');
  assert.equal((await readState(run, () => time + 61_000)).state, 'stale');
  await assert.rejects(takeOwnership(run, { now: () => time + 30_000, watch: 10 }), {
    code: 'RunInUse',
    message: /another-host/,
  });
  const ownership = await takeOwnership(run, { now: () => time + 61_000, watch: 10 });
  await ownership.release();
  assert.ok(!existsSync(path.join(run, 'owner.json')));
});

test('a host whose clock is behind is not mistaken for a silent one', async (context) => {
  const { run } = await newRun(context);
  const owner = { host: 'another-host', bootId: 'x', pid: 1, processStart: '1', id: 'abcd', time: 0 };
  writeFileSync(path.join(run, 'owner.json'), JSON.stringify(owner));
  const statusFile = path.join(run, 'status.json');
  const status = JSON.parse(readFileSync(statusFile, 'utf8')) as object;
  let heartbeat = 0;
  const beat = (): void => {
    heartbeat += 1;
    writeFileSync(`${statusFile}.new`, JSON.stringify({ ...status, state: 'running', heartbeat }));
    renameSync(`${statusFile}.new`, statusFile);
  };
  beat();
  // All the time: nobody knows when it looks.
  const heart = setInterval(beat, 20);
  try {
    await assert.rejects(takeOwnership(run, { now: () => 10_000_000, watch: 500 }), { code: 'RunInUse' });
  } finally {
    clearInterval(heart);
  }
});

test('an owner.json emptied by a power failure does not lock the run for ever', async (context) => {
  const { run } = await newRun(context);
  writeFileSync(path.join(run, 'owner.json'), '');
  await assert.rejects(takeOwnership(run), { code: 'RunInUse' }, 'the heartbeat is fresh');
  const ownership = await takeOwnership(run, { now: () => Date.now() + 120_000, watch: 10 });
  await ownership.release();
});

test('a restart clears old messages and the old error; an end is recorded for a trainer that could not', async (context) => {
  const { run } = await newRun(context);
  const writer = await RunWriter.open(run);
  await writer.end('failed', { code: 'DiskFull', message: 'full' });
  await sendControl(run, 'stop');
  await prepareRestart(run);
  const { status, state } = await readState(run);
  assert.equal(state, 'starting');
  assert.equal(status.error, null);
  assert.deepEqual(readdirSync(path.join(run, 'control')), []);
  await recordEnd(run, 'failed', { code: 'TrainerFailed', message: 'no engine' });
  assert.equal((await readState(run)).status.error?.message, 'no engine');
});

test('a file system without hard links still has one owner at a time', { timeout: 120_000 }, async (context) => {
  const { folder, run } = await newRun(context);
  const noLinks: FileSystem = {
    ...nodeFileSystem,
    link: () => Promise.reject(Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM' })),
  };
  const tries = Array.from({ length: 5 }, () => takeOwnership(run, { fileSystem: noLinks }));
  const taken = (await Promise.allSettled(tries)).filter((result) => result.status === 'fulfilled');
  assert.equal(taken.length, 1);
  await taken[0]?.value.release();
  const { child, ended } = await startScript(await bundleScript(folder, 'hold', hold), [run], /owner/);
  child.kill('SIGKILL');
  await ended;
  const ownership = await takeOwnership(run, { fileSystem: noLinks });
  await ownership.release();
});
