import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../src/errors';
import { spawnTrainer, type SpawnTrainerOptions } from '../../src/launch';
import type { RunStatus } from '../../src/runs';

/** A trainer that is only its beginning: `body` runs with `run` (the run directory) and `own(id)`, which takes the run. */
function trainer(context: TestContext, body: string): { run: string; options: SpawnTrainerOptions } {
  const folder = mkdtempSync(path.join(os.tmpdir(), "lrqat launch 'quoted' "));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const trainerFile = path.join(folder, 'trainer.cjs');
  writeFileSync(
    trainerFile,
    `const fs = require('node:fs'), os = require('node:os'), path = require('node:path');
     const run = process.argv[2];
     const own = (id) => fs.writeFileSync(path.join(run, 'owner.json'), JSON.stringify({ host: os.hostname(), pid: process.pid, id, time: Date.now() }));
     ${body}`,
  );
  return { run: folder, options: { trainerFile, timeout: 60_000 } };
}

async function failure(promise: Promise<unknown>): Promise<UserError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error;
  }
  return assert.fail('the trainer counted as started');
}

const alive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function eventually(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 4000 && !condition(); tries++) await sleep(25);
  assert.ok(condition());
}

test(
  'resolves once the trainer owns the run; the trainer has a session, a clean environment and the log',
  { skip: process.platform === 'win32' },
  async (context) => {
    const { run, options } = trainer(
      context,
      `console.log('to the log'); console.error('errors too');
     fs.writeFileSync(path.join(run, 'seen.json'), JSON.stringify({ run, environment: process.env, input: fs.fstatSync(0).isCharacterDevice() }));
     setTimeout(() => own('abc'), 150); setTimeout(() => {}, 60000);`,
    );
    writeFileSync(path.join(run, 'log.txt'), 'earlier\n');
    const child = await spawnTrainer(run, {
      ...options,
      environment: { ...process.env, NODE_OPTIONS: '--no-such-option', VSCODE_X: '1' },
    });
    context.after(() => child.kill('SIGKILL'));
    const pid = child.pid!;
    assert.equal((JSON.parse(readFileSync(path.join(run, 'owner.json'), 'utf8')) as { pid: number }).pid, pid);
    assert.equal(readFileSync(path.join(run, 'log.txt'), 'utf8'), 'earlier\nto the log\nerrors too\n');
    const seen = JSON.parse(readFileSync(path.join(run, 'seen.json'), 'utf8')) as {
      run: string;
      environment: NodeJS.ProcessEnv;
      input: boolean;
    };
    assert.equal(seen.run, run, 'quotes and spaces in names pass untouched');
    assert.equal(seen.environment['OMP_WAIT_POLICY'], 'passive');
    assert.equal(seen.environment['NODE_OPTIONS'], undefined);
    assert.equal(seen.environment['VSCODE_X'], undefined);
    assert.ok(seen.input, 'standard input is the null device');
    if (process.platform === 'linux') {
      // /proc/<pid>/stat: after the name come state, parent, process group, session.
      const session = readFileSync(`/proc/${String(pid)}/stat`, 'latin1')
        .split(') ')[1]
        ?.split(' ')[3];
      assert.equal(session, String(pid), 'it leads a session of its own');
    }
  },
);

test('a trainer that dies is an error with the end of its own log', async (context) => {
  const { run, options } = trainer(
    context,
    `for (let i = 0; i < 100; i++) console.log('line ' + i); process.exitCode = 3;`,
  );
  writeFileSync(path.join(run, 'log.txt'), 'of an earlier attempt\n');
  const error = await failure(spawnTrainer(run, options));
  assert.equal(error.code, 'TrainerDied');
  assert.match(error.message, /ended at once with exit code 3; its log ends:\n {2}line 88\n/);
  assert.match(error.message, /line 99$/);
  assert.doesNotMatch(error.message, /earlier attempt/);
  assert.match(error.hint ?? '', /log\.txt/);
});

test('what the trainer itself said in status.json is the error', async (context) => {
  const { run, options } = trainer(
    context,
    `fs.writeFileSync(path.join(run, 'status.json'), JSON.stringify({ state: 'failed', error: { code: 'OutOfMemory', message: 'needs 9 GiB', hint: 'lower it' } } )); process.exitCode = 1;`,
  );
  const error = await failure(spawnTrainer(run, options));
  assert.deepEqual([error.code, error.message, error.hint], ['OutOfMemory', 'needs 9 GiB', 'lower it']);
});

test('an error left in status.json by an earlier attempt is not this one’s', async (context) => {
  const { run, options } = trainer(context, `console.log('no such module'); process.exitCode = 1;`);
  const status = {
    state: 'failed',
    ended: 1,
    error: { code: 'OutOfMemory', message: 'needs 9 GiB' },
  } satisfies Partial<RunStatus>;
  writeFileSync(path.join(run, 'status.json'), JSON.stringify(status));
  const error = await failure(spawnTrainer(run, options));
  assert.equal(error.code, 'TrainerDied');
  assert.match(error.message, /no such module/);
});

test('a run that is over before anyone has looked has started well', async (context) => {
  const { run, options } = trainer(context, `own('abc'); fs.rmSync(path.join(run, 'owner.json'));`);
  await spawnTrainer(run, options);
});

test('the owner of an earlier attempt does not count', async (context) => {
  const { run, options } = trainer(
    context,
    `setTimeout(() => { fs.writeFileSync(path.join(run, 'now'), ''); own('def'); setTimeout(() => {}, 60000); }, 200);`,
  );
  writeFileSync(path.join(run, 'owner.json'), JSON.stringify({ host: os.hostname(), pid: 1, id: 'abc', time: 0 }));
  const child = await spawnTrainer(run, options);
  context.after(() => child.kill('SIGKILL'));
  assert.ok(existsSync(path.join(run, 'now')));
});

test('a trainer that does not begin in time, or is not wanted any more, is ended', async (context) => {
  const { run, options } = trainer(
    context,
    `fs.writeFileSync(path.join(run, 'pid'), String(process.pid)); setTimeout(() => {}, 60000);`,
  );
  const pidFile = path.join(run, 'pid');
  const pid = (): number => Number(readFileSync(pidFile, 'utf8'));
  const error = await failure(spawnTrainer(run, { ...options, timeout: 1500 }));
  assert.match(error.message, /did not begin within 1\.5 s/);
  // On a slow machine it may have been ended before its first line.
  await eventually(() => !existsSync(pidFile) || !alive(pid()));
  rmSync(pidFile, { force: true });
  const abort = new AbortController();
  const started = spawnTrainer(run, { ...options, signal: abort.signal });
  await eventually(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
  abort.abort();
  await assert.rejects(started, { name: 'AbortError' });
  await eventually(() => !alive(pid()));
});

test('what cannot be started at all', async (context) => {
  const { run, options } = trainer(context, '');
  const noNode = await failure(spawnTrainer(run, { ...options, nodePath: path.join(run, 'no-node') }));
  assert.equal(noNode.code, 'TrainerNotStarted');
  assert.match(noNode.message, /could not be started/);
  const noFolder = await failure(spawnTrainer(path.join(run, 'none'), options));
  assert.match(noFolder.message, /log\.txt: cannot be written/);
});
