// The queue with the real binary, the real trainer and the real engine: few and small steps.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listRuns, parseMetricsLine, queuePaths, readOwner, readQueue, readState, runPaths } from '../../src/runs';
import { livenessOf } from '../../src/runs/process-identity';
import { jsonLines, lrqat, startOnTerminal, temporaryFolder, type Outcome } from './support';

const MODEL = path.resolve('samples/first-run/model');
const TEXT = path.resolve('samples/first-run/validation.txt');

interface Place {
  readonly file: string;
  readonly runs: string;
  readonly cli: (...args: string[]) => Promise<Outcome>;
}

/** An experiment with a sweep, in a folder that is left without trainers and starters. */
function sweepIn(context: TestContext, sweep: Readonly<Record<string, unknown>>, steps = 4): Place {
  const folder = temporaryFolder(context);
  const runs = path.join(folder, 'runs');
  context.after(() => rmSync(queuePaths(runs).folder, { recursive: true, force: true, maxRetries: 5 }));
  const file = path.join(folder, 'sweep.lrqat.json');
  const experiment = {
    model: { path: MODEL },
    data: { train: [TEXT], sequenceLength: 32 },
    training: { steps, batchSize: 2, microBatchSize: 2 },
    evaluation: { everySteps: 0, maxBatches: 2 },
    checkpoint: { everySteps: 2, keep: 1 },
    compute: 'float32',
    threads: 1,
    sweep,
  };
  writeFileSync(file, JSON.stringify(experiment, null, 2));
  return { file, runs, cli: (...args) => lrqat([...args, '--runs', runs]) };
}

async function until<Value>(what: string, ask: () => Promise<Value | null | false>): Promise<Value> {
  for (const end = Date.now() + 120_000; ;) {
    const value = await ask();
    if (value !== null && value !== false) return value;
    assert.ok(Date.now() < end, `never: ${what}`);
    await sleep(50);
  }
}

async function states(runs: string): Promise<string[]> {
  return (await listRuns(runs)).map(({ state }) => state);
}

/** Trainers that have worked on a run. */
function attempts(directory: string): number {
  const lines = readFileSync(runPaths(directory).metrics, 'utf8').split('\n');
  return lines.filter((line) => parseMetricsLine(line)?.type === 'attempt').length;
}

function isDone(list: readonly string[]): boolean {
  return list.every((state) => state === 'finished');
}

void test(
  'a sweep is confirmed, queued and trained to the end by the trainers themselves',
  { timeout: 300_000 },
  async (context) => {
    const { file, runs, cli } = sweepIn(context, {
      'quantization.weights.bits': [2, 3],
      'quantization.lowRank.rank': [2, 4],
    });
    const refused = await cli('train', file);
    assert.equal(refused.code, 2, refused.stdout + refused.stderr);
    assert.match(refused.stderr, /the sweep has 4 runs, .*nothing was started\nhint: Add --yes/);
    assert.equal(existsSync(runs), false);

    const started = await cli('train', file, '--yes', '--json');
    assert.equal(started.code, 0, started.stderr);
    const made = jsonLines(started.stdout);
    assert.deepEqual(
      made.map(({ name }) => String(name).slice(16)),
      ['w2-rank2', 'w2-rank4', 'w3-rank2', 'w3-rank4'],
    );
    // Nobody looks through the command line from here on: each trainer starts the next.
    await until('all finished', async () => isDone(await states(runs)));
    for (const [index, { directory }] of made.entries()) {
      const read = (name: string): Record<string, unknown> =>
        JSON.parse(readFileSync(path.join(String(directory), name), 'utf8')) as Record<string, unknown>;
      assert.equal('sweep' in read('experiment.json'), false);
      const { sweep } = read('provenance.json') as {
        sweep: { name: string; position: number; runs: number; values: object };
      };
      assert.equal(sweep.position, index + 1);
      assert.equal(sweep.name, String(made[index]?.['name']).slice(16));
      assert.equal(sweep.runs, 4);
      assert.deepEqual(Object.keys(sweep.values), ['quantization.weights.bits', 'quantization.lowRank.rank']);
      assert.equal(attempts(String(directory)), 1);
    }
    // One at a time, in order: none began before the one before it had ended.
    const all = await listRuns(runs);
    for (const [index, { status }] of all.entries()) {
      const before = all[index - 1]?.status.ended ?? 0;
      assert.ok((status.started ?? 0) >= before, `${String(index)} began before the one before it ended`);
    }
    const waited = await cli('queue', 'wait');
    assert.equal(waited.code, 0, waited.stderr);
  },
);

void test(
  'a trainer killed by force leaves an orphaned queue, and many commands at once restart it once',
  { timeout: 300_000 },
  async (context) => {
    const { file, runs, cli } = sweepIn(context, { 'training.steps': [100_000, 3, 4] });
    assert.equal((await cli('train', file, '--yes')).code, 0);
    const [endless] = await listRuns(runs);
    assert.ok(endless);
    await until('it trains', async () => (await readState(endless.directory)).status.step > 0);
    const owner = await readOwner(endless.directory);
    assert.ok(owner);
    process.kill(owner.pid, 'SIGKILL');
    await until('it is dead', () => Promise.resolve(livenessOf(owner) === 'dead'));
    assert.equal((await readQueue(runs)).waiting.length, 2);

    const looks = await Promise.all(Array.from({ length: 3 }, () => cli('list')));
    for (const { code, stderr } of looks) assert.equal(code, 0, stderr);
    const said = looks.flatMap(({ stderr }) => stderr.match(/started from the queue: \S+/g) ?? []);
    assert.equal(new Set(said).size, said.length, said.join('\n'));
    await until('the others have finished', async () => isDone((await states(runs)).slice(1)));
    const [crashed, ...others] = await listRuns(runs);
    assert.equal(crashed?.state, 'crashed');
    for (const run of others) assert.equal(attempts(run.directory), 1, run.name);
  },
);

void test('list, move, cancel, stop, start and --parallel', { timeout: 300_000 }, async (context) => {
  const { file, runs, cli } = sweepIn(context, { 'training.seed': [1, 2, 3, 4] }, 100_000);
  const said = await cli('queue', 'add', file, '--yes');
  assert.equal(said.code, 0, said.stderr);
  const names = (await listRuns(runs)).map(({ name }) => name);
  const [one, two, three, four] = names as [string, string, string, string];
  assert.match((await cli('list')).stdout, new RegExp(`^${two} +queued \\(1\\)`, 'm'));
  assert.match((await cli('queue', 'move', 'seed4', 'first')).stdout, /number 1 of 3/);
  assert.match((await cli('queue', 'skip', 'seed4')).stdout, /number 3 of 3/);
  const table = await cli('queue');
  assert.match(table.stdout, new RegExp(`^1 +${two} +queued +cpu`, 'm'), table.stderr);
  assert.match((await cli('stop', 'seed3')).stdout, /out of the queue/);
  assert.equal((await readState(path.join(runs, three))).state, 'stopped');
  const pause = await cli('pause', 'seed4');
  assert.match(pause.stderr, /waits in the queue/);
  assert.match((await cli('queue', 'start', 'seed4')).stdout, /follow it/);
  assert.equal((await readState(path.join(runs, four))).status.queue, null, 'started beside the queue');
  assert.equal((await readQueue(runs)).waiting.length, 1, 'no room for another');
  // The one started by hand counts: three at a time, and there is room for one more.
  const wider = await cli('queue', '--parallel', '3', '--json');
  assert.equal(wider.code, 0, wider.stderr);
  const { active } = JSON.parse(wider.stdout) as { active: { name: string }[] };
  assert.deepEqual(active.map(({ name }) => name).sort(), [one, two, four].sort());
  const again = await cli('queue', 'add', 'seed3');
  assert.match(again.stdout, /is queued/);
  assert.equal((await cli('queue', 'cancel', '--all')).code, 0);
  for (const name of [one, two, four]) assert.equal((await cli('stop', name, '--now')).code, 0);
  assert.equal((await cli('queue', 'wait')).code, 0);
});

void test('on a terminal the question is asked, and no is no', { timeout: 120_000 }, async (context) => {
  const { file, runs } = sweepIn(context, { 'training.seed': [1, 2] });
  const running = startOnTerminal(['train', file, '--runs', runs]);
  try {
    await running.printed(/Queue them\? \[y\/N\]/);
    running.child.stdin?.write('n\n');
    const { stdout, code } = await running.outcome;
    assert.equal(code, 130);
    assert.match(stdout, /nothing was started/);
    assert.match(stdout, /2 runs, about .* up to .* of disk/);
    assert.equal(existsSync(runs), false);
  } finally {
    running.child.kill('SIGKILL');
  }
});
