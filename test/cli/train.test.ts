// The real binary with the real engine on the sample: few and small steps.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { findRun, latestComplete, readOwner, readResult, readState } from '../../src/runs';
import { livenessOf } from '../../src/runs/process-identity';
import { jsonLines, lrqat, SAMPLE, start, startOnTerminal, temporaryFolder } from './support';

/** Steps of a fraction of a second. */
function smallRun(context: TestContext, steps: number): { args: string[]; runs: string } {
  const runs = path.join(temporaryFolder(context), 'runs');
  const sets = [
    `training.steps=${String(steps)}`,
    'training.batchSize=2',
    'training.microBatchSize=2',
    'data.sequenceLength=64',
    'evaluation.maxBatches=2',
    'evaluation.everySteps=0',
    'checkpoint.everySteps=20',
  ];
  return { args: [SAMPLE, '--runs', runs, ...sets.flatMap((set) => ['--set', set])], runs };
}

const ENDLESS = 100_000;

test(
  'train without a terminal: plain lines, the four-way table, exit code 0',
  { timeout: 120_000 },
  async (context) => {
    const { args, runs } = smallRun(context, 10);
    const { code, stdout, stderr } = await lrqat(['train', ...args]);
    assert.equal(code, 0, stdout + stderr);
    assert.equal(stderr, '');
    assert.ok(!stdout.includes('\u001b'));
    assert.match(stdout, /^step 0 {2}validation: float perplexity \d+\.\d+$/m);
    assert.match(stdout, /^step 1\/10 {2}loss \d\.\d{4} {2}lr /m);
    assert.match(stdout, /^step 10\/10 /m);
    for (const form of ['float', 'round-to-nearest', 'trained', 'merged']) {
      assert.match(stdout, new RegExp(`^${form} +\\d+\\.\\d+ +\\d+\\.\\d\\d +\\d+\\.\\d+ MiB$`, 'm'));
    }
    assert.match(stdout, /^training closed -?\d+\.\d % of the gap/m);
    const run = findRun('latest', runs);
    assert.ok(stdout.trimEnd().endsWith(`run: ${run}`), stdout);
    const result = await readResult(run);
    assert.ok(result !== null);
    assert.equal(result.perplexity.merged, result.perplexity.trained, 'merging changes nothing');
  },
);

test('train --json: one event a line, from the run to its result', { timeout: 120_000 }, async (context) => {
  const { args } = smallRun(context, 5);
  const { code, stdout } = await lrqat(['train', '--json', '--foreground', ...args]);
  assert.equal(code, 0, stdout);
  const events = jsonLines(stdout);
  assert.equal(events[0]?.['type'], 'run');
  assert.deepEqual(
    events.filter(({ type }) => type === 'step').map(({ step }) => step),
    [1, 2, 3, 4, 5],
  );
  assert.deepEqual([...new Set(events.filter(({ type }) => type === 'eval').map(({ form }) => form))].sort(), [
    'float',
    'merged',
    'round-to-nearest',
    'trained',
  ]);
  const states = events.filter(({ type }) => type === 'status').map(({ state }) => state);
  assert.equal(states.at(-1), 'finished');
  const last = events.at(-1);
  assert.equal(last?.['type'], 'result');
  assert.equal(last['state'], 'finished');
});

test(
  'on a terminal: a live line, evaluations above it; Ctrl-C once saves, resume goes on to the end',
  { timeout: 180_000, skip: process.platform === 'linux' ? false : 'needs the script command of util-linux' },
  async (context) => {
    const { args, runs } = smallRun(context, ENDLESS);
    const training = startOnTerminal(['train', ...args], 130);
    await training.printed(/step \d+\/100000 {2}loss \d\.\d{4} {2}ETA .* tok\/s {2}lr .* MiB/);
    training.child.stdin?.write('\u0003');
    const { code, stdout } = await training.outcome;
    assert.equal(code, 130, stdout);
    assert.match(stdout, /float perplexity/);
    assert.match(stdout, /\u2588|\u2591/, 'a bar was drawn');
    assert.match(stdout, /stopping: the run is saved first/);
    assert.match(stdout, /stopped at step \d+ of 100000, saved at step \d+/);
    assert.ok(stdout.includes('\u001b[?25h'), 'the cursor is shown again');
    const run = findRun('latest', runs);
    const { status, state } = await readState(run);
    assert.equal(state, 'stopped');
    assert.equal((await latestComplete(run))?.step, status.step);
    assert.ok(status.step > 0);

    const resumed = start(['resume', 'latest', '--runs', runs]);
    await resumed.printed(/step \d+\/100000 {2}loss/);
    assert.equal((await lrqat(['stop', 'latest', '--now', '--runs', runs])).code, 0);
    const again = (await resumed.outcome).stdout;
    assert.match(again, new RegExp(`resumes from the checkpoint of step ${String(status.step)} of 100000`));
    assert.doesNotMatch(again, /^step 1\/100000/m, 'the past is not told again');
  },
);

test(
  'Ctrl-C twice ends a trainer that does not answer; the run can still be resumed',
  { timeout: 180_000 },
  async (context) => {
    const { args, runs } = smallRun(context, ENDLESS);
    const training = start(['train', ...args]);
    await training.printed(/step \d+ {2}checkpoint written/);
    const run = findRun('latest', runs);
    const owner = await readOwner(run);
    assert.ok(owner !== null);
    // One that hangs: it cannot act on the first.
    process.kill(owner.pid, 'SIGSTOP');
    training.child.kill('SIGINT');
    await training.printed(/stopping: the run is saved first/);
    training.child.kill('SIGINT');
    await training.printed(/stopping at once/);
    const { code, stdout } = await training.outcome;
    assert.equal(code, 130, stdout);
    assert.equal((await readState(run)).state, 'stopped');
    assert.notEqual(livenessOf(owner), 'alive');
    assert.ok((await latestComplete(run)) !== null);
    assert.ok(!existsSync(path.join(run, 'owner.json')));
  },
);

test(
  'the trainer outlives a killed command; others follow, pause, save and stop it',
  { timeout: 300_000 },
  async (context) => {
    const { args, runs } = smallRun(context, ENDLESS);
    const at = ['--runs', runs];
    const training = start(['train', ...args]);
    await training.printed(/step 1\//);
    training.child.kill('SIGKILL');
    await training.outcome;
    const run = findRun('latest', runs);
    const owner = await readOwner(run);
    assert.ok(owner !== null);
    assert.equal(livenessOf(owner), 'alive');

    const following = start(['resume', 'latest', ...at]);
    await following.printed(/is running; following it/);
    await following.printed(/step \d+\/100000 {2}loss/);

    const paused = await lrqat(['pause', 'latest', ...at]);
    assert.match(paused.stdout, /is paused at step \d+/);
    await following.printed(/paused at step/);
    // Pause really idles: what spins has a thread that can run in every look.
    while (!(await sleepsForASecond(owner.pid)));

    const saved = await lrqat(['checkpoint', 'latest', ...at]);
    assert.match(saved.stdout, /checkpoint of step \d+ written/);
    const { status } = await readState(run);
    assert.equal((await latestComplete(run))?.step, status.step);

    const resumed = start(['resume', 'latest', '--json', ...at]);
    await resumed.printed(new RegExp(`"step":${String(status.step + 1)},`));
    const stopped = await lrqat(['stop', 'latest', ...at]);
    assert.equal(stopped.code, 0);
    assert.match(stopped.stdout, /is stopped at step \d+ \(saved at step \d+\)/);
    assert.equal((await following.outcome).code, 3, 'stopped by somebody else');
    assert.equal((await resumed.outcome).code, 3);
  },
);

test(
  'a trainer killed from outside is reported as crashed, and resumed from its checkpoint',
  { timeout: 180_000 },
  async (context) => {
    const { args, runs } = smallRun(context, ENDLESS);
    const training = start(['train', ...args]);
    await training.printed(/step 20 {2}checkpoint written/);
    const run = findRun('latest', runs);
    process.kill((await readOwner(run))!.pid, 'SIGKILL');
    const { code, stderr } = await training.outcome;
    assert.equal(code, 1);
    assert.match(stderr, /crashed: the trainer has gone without a word/);
    assert.match((await lrqat(['list', '--runs', runs])).stdout, / crashed /);
    const saved = (await latestComplete(run))?.step ?? 0;
    const resumed = start(['resume', 'latest', '--runs', runs]);
    await resumed.printed(new RegExp(`resumed from step ${String(saved)}`));
    assert.equal((await lrqat(['stop', 'latest', '--now', '--runs', runs])).code, 0);
    assert.equal((await resumed.outcome).code, 3);
  },
);

test('a run that cannot start again says why; put right, it resumes', { timeout: 120_000 }, async (context) => {
  const { args, runs } = smallRun(context, ENDLESS);
  const model = path.join(path.dirname(runs), 'model');
  cpSync('samples/first-run/model', model, { recursive: true });
  const training = start(['train', ...args, '--set', `model.path=${model}`]);
  await training.printed(/step 20 {2}checkpoint written/);
  training.child.kill('SIGINT');
  assert.equal((await training.outcome).code, 130);
  renameSync(model, `${model}-away`);
  for (const mode of [[], ['--foreground']]) {
    const failed = await lrqat(['resume', 'latest', '--runs', runs, ...mode]);
    assert.equal(failed.code, 1, failed.stdout + failed.stderr);
    assert.match(failed.stderr, /failed: model ".*model" was not found/);
    assert.equal((await readState(findRun('latest', runs))).status.error?.code, 'ModelNotFound');
  }
  const json = jsonLines((await lrqat(['resume', 'latest', '--runs', runs, '--json'])).stdout);
  assert.equal(json.at(-1)?.['state'], 'failed');
  renameSync(`${model}-away`, model);
  const resumed = start(['resume', 'latest', '--runs', runs]);
  await resumed.printed(/step \d+\/100000 {2}loss/);
  resumed.child.kill('SIGINT');
  assert.equal((await resumed.outcome).code, 130);
});

test('train --detach returns at once, SIGTERM to the foreground saves', { timeout: 120_000 }, async (context) => {
  const { args, runs } = smallRun(context, ENDLESS);
  const detached = await lrqat(['train', '--detach', ...args]);
  assert.equal(detached.code, 0);
  const run = findRun('latest', runs);
  assert.ok(detached.stdout.startsWith(run), detached.stdout);
  assert.equal((await lrqat(['stop', 'latest', '--now', '--runs', runs])).code, 0);
  assert.equal((await readState(run)).state, 'stopped');

  const foreground = start(['resume', 'latest', '--foreground', '--runs', runs]);
  await foreground.printed(/step \d+\/100000 {2}loss/);
  assert.equal((await readOwner(run))?.pid, foreground.child.pid);
  foreground.child.kill('SIGTERM');
  assert.equal((await foreground.outcome).code, 3);
  assert.equal((await readState(run)).state, 'stopped');
  assert.ok(((await latestComplete(run))?.step ?? 0) > 0);
});

test('a machine without the engine is told so before there is a run', async (context) => {
  const { args, runs } = smallRun(context, 5);
  const env = { LRQAT_NATIVE: path.join(runs, 'nowhere') };
  const { code, stderr } = await lrqat(['train', ...args], { env });
  assert.equal(code, 4, stderr);
  assert.match(stderr, /LRQAT_NATIVE/);
  assert.ok(!existsSync(runs));
  const doctor = await lrqat(['doctor'], { env });
  assert.equal(doctor.code, 4);
  assert.match(doctor.stdout, /PROBLEM +Native engine/);
});

test('evaluate measures a model and a run, and says what it cannot', { timeout: 180_000 }, async (context) => {
  const { args, runs } = smallRun(context, 5);
  const text = path.join(path.dirname(runs), 'text.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt', 'utf8').slice(0, 20_000));
  assert.equal((await lrqat(['train', '--foreground', ...args])).code, 0);
  const options = ['--data', text, '--sequence-length', '128', '--json'];
  const ofModel = await lrqat(['evaluate', path.resolve('samples/first-run/model'), ...options]);
  assert.equal(ofModel.code, 0, ofModel.stderr);
  const ofRun = await lrqat(['evaluate', 'latest', '--runs', runs, ...options]);
  assert.equal(ofRun.code, 0, ofRun.stderr);
  interface Forms {
    forms: { form: string; perplexity: number }[];
  }
  const model = JSON.parse(ofModel.stdout) as Forms;
  const run = JSON.parse(ofRun.stdout) as Forms;
  assert.deepEqual(
    run.forms.map(({ form }) => form),
    ['float', 'round-to-nearest', 'trained', 'merged'],
  );
  assert.equal(model.forms[0]?.perplexity, run.forms[0]?.perplexity, 'the same model, the same bits');
  assert.equal(run.forms[2]?.perplexity, run.forms[3]?.perplexity);
  const missing = await lrqat(['evaluate', 'latest', '--runs', runs, '--data', 'none.txt']);
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /none\.txt: no such file/);
});

/** Whether no thread of a process could run in any of many looks. */
async function sleepsForASecond(pid: number): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  for (let look = 0; look < 20; look++) {
    if (threadStates(pid).includes('R')) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** `S` sleeps, `R` runs or waits for a core. */
function threadStates(pid: number): string[] {
  const tasks = `/proc/${String(pid)}/task`;
  return readdirSync(tasks).map((thread) => {
    const stat = readFileSync(path.join(tasks, thread, 'stat'), 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2);
  });
}
