import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  createRun,
  effectiveEvents,
  parseMetricsLine,
  RunReader,
  runPaths,
  RunWriter,
  type MetricsEvent,
  type StepEvent,
} from '../../src/runs';
import { LineTail } from '../../src/runs/line-tail';
import { experimentNamed, temporaryFolder } from './support';

const step = (number: number, loss = 1): StepEvent => ({
  type: 'step',
  step: number,
  loss,
  learningRate: { lowRank: 1e-3, scales: 1e-5 },
  gradientNorm: 0.5,
  tokens: 64,
  tokensPerSecond: 1000,
  memory: { engine: 1, resident: 2 },
  time: number,
});
const steps = (events: readonly MetricsEvent[]): number[] =>
  events.flatMap((event) => (event.type === 'step' ? [event.step] : []));

async function newRun(context: TestContext): Promise<string> {
  const folder = temporaryFolder(context);
  const experimentFile = path.join(folder, 'x.lrqat.json');
  return (await createRun({ runsFolder: folder, experiment: experimentNamed('reader'), experimentFile })).directory;
}

test('a tail gives each line once, however the bytes arrive', async (context) => {
  const file = path.join(temporaryFolder(context), 'lines');
  const text = ['één', '', '量子化', 'x'.repeat(300_000), 'end'].map((line) => `${line}\n`).join('');
  const bytes = Buffer.from(text);
  const tail = new LineTail(file);
  assert.deepEqual(await tail.read(), { lines: [], reset: false, read: 0, size: 0 }, 'a file that is not there yet');
  const lines: string[] = [];
  // Cuts inside of characters, and inside of the long line.
  const cuts = [1, 2, 3, 9, 10, 11, 12, 13, 150_000, bytes.length - 2, bytes.length];
  for (let index = 0, from = 0; index < cuts.length; from = cuts[index++]!) {
    appendFileSync(file, bytes.subarray(from, cuts[index]));
    lines.push(...(await tail.read()).lines);
  }
  assert.deepEqual(lines, text.split('\n').slice(0, -1));
  const all = bytes.length;
  assert.deepEqual(await tail.read(), { lines: [], reset: false, read: all, size: all });
});

test('a tail starts again when the file was truncated or replaced', async (context) => {
  const file = path.join(temporaryFolder(context), 'lines');
  writeFileSync(file, 'one\ntwo\nthr');
  const tail = new LineTail(file);
  await tail.read();
  truncateSync(file, 0);
  appendFileSync(file, 'new\n');
  assert.deepEqual(await tail.read(), { lines: ['new'], reset: true, read: 4, size: 4 });
});

test('a tail with a limit reads a large file piece by piece', async (context) => {
  const file = path.join(temporaryFolder(context), 'lines');
  writeFileSync(file, 'one\ntwo\nthree\n');
  const tail = new LineTail(file);
  assert.deepEqual(await tail.read(5), { lines: ['one'], reset: false, read: 5, size: 14 });
  appendFileSync(file, 'four\n');
  assert.deepEqual(await tail.read(8), { lines: ['two'], reset: false, read: 13, size: 19 });
  assert.deepEqual(await tail.read(8), { lines: ['three', 'four'], reset: false, read: 19, size: 19 });
});

test('a metrics file of 2 GB with damage in its middle is read piece by piece, in little memory', async (context) => {
  const directory = await newRun(context);
  const file = runPaths(directory).metrics;
  // What a crash of the machine may leave: a hole of zeros, longer than any line, between the lines before and after.
  const lines = (from: number) =>
    Array.from({ length: 1000 }, (_, at) => `${JSON.stringify(step(from + at))}\n`).join('');
  writeFileSync(file, lines(1));
  truncateSync(file, 2 ** 31);
  appendFileSync(file, `\n${lines(1001)}`);
  const reader = new RunReader(directory, { limit: 16 * 2 ** 20 });
  const seen: number[] = [];
  let most = 0;
  for (let more = true; more;) {
    const { events, bytes, reset } = await reader.poll();
    assert.equal(reset, false);
    seen.push(...steps(events));
    more = bytes.done < bytes.total;
    most = Math.max(most, process.memoryUsage().rss);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 2000 }, (_, at) => at + 1),
  );
  assert.ok(most < 1.5 * 2 ** 30, `${String(most)} bytes`);
});

test('what a writer writes, a reader reads; only what is new', async (context) => {
  const run = await newRun(context);
  const reader = new RunReader(run, { layers: true });
  const before = await reader.poll();
  assert.equal(before.state, 'starting');
  const writer = await RunWriter.open(run);
  await writer.event(step(1));
  await writer.layers([
    {
      type: 'layer',
      step: 1,
      name: 'model.layers.0.mlp.up_proj',
      clippedShare: 0,
      flipped: 3,
      weights: 9,
      scaleDrift: NaN,
    },
  ]);
  writer.update({ state: 'running', step: 1 });
  await writer.writeStatus();
  const update = await reader.poll();
  assert.equal(update.state, 'running');
  assert.deepEqual(
    update.events.map((event) => event.type),
    ['start', 'attempt', 'step'],
  );
  assert.equal(update.layers[0]?.type === 'layer' ? update.layers[0].scaleDrift : 0, null, 'not finite is null');
  await writer.event(step(2));
  assert.deepEqual(steps((await reader.poll()).events), [2]);
  await writer.end('finished');
  const last = await reader.poll();
  assert.equal(last.state, 'finished');
  assert.deepEqual(
    last.events.map((event) => event.type),
    ['end'],
  );
});

test('half a line left by kill -9 is skipped by readers and closed by the next writer', async (context) => {
  const run = await newRun(context);
  const metrics = path.join(run, 'metrics.jsonl');
  let writer = await RunWriter.open(run);
  await writer.event(step(1));
  await writer.end('stopped');
  appendFileSync(metrics, '{"type":"step","step":2,"lo');
  const reader = new RunReader(run);
  assert.deepEqual(steps((await reader.poll()).events), [1]);
  writer = await RunWriter.open(run);
  await writer.resumeFrom(1);
  await writer.event(step(2, 7));
  await writer.end('finished');
  assert.deepEqual(steps((await reader.poll()).events), [2], 'a reader that had the half line goes on');
  const lines = readFileSync(metrics, 'utf8').split('\n');
  assert.equal(lines.pop(), '');
  assert.equal(lines.filter((line) => parseMetricsLine(line) === null).length, 1);
});

test('a resume takes back the events after its step, and evaluations made again replace the earlier ones', () => {
  const evaluation = (at: number, perplexity: number): MetricsEvent => ({
    type: 'eval',
    step: at,
    kind: 'validation',
    form: 'trained',
    perplexity,
    loss: 1,
    tokens: 1,
    time: 0,
  });
  const events = effectiveEvents<MetricsEvent>([
    evaluation(0, 9),
    step(1),
    step(2),
    evaluation(2, 8),
    { type: 'checkpoint', step: 2, time: 0 },
    step(3),
    step(4),
    evaluation(4, 7),
    { type: 'end', state: 'stopped', time: 0 },
    { type: 'resume', fromStep: 2, time: 0 },
    step(3, 5),
    { type: 'resume', fromStep: 2, time: 0 },
    evaluation(2, 6),
    step(3, 4),
  ]);
  assert.deepEqual(steps(events), [1, 2, 3]);
  const at3 = events.filter((event) => event.type === 'step' && event.step === 3);
  assert.deepEqual(at3, [step(3, 4)]);
  assert.deepEqual(
    events.flatMap((event) => (event.type === 'eval' ? [event.perplexity] : [])),
    [9, 6],
  );
  assert.ok(!events.some((event) => event.type === 'end'));
});

test('following sees every step, survives a resume, and ends with the run', { timeout: 120_000 }, async (context) => {
  const run = await newRun(context);
  const writer = await RunWriter.open(run);
  const seen: number[] = [];
  const states: string[] = [];
  const following = (async () => {
    for await (const update of new RunReader(run).follow()) {
      seen.push(...steps(update.events));
      if (states.at(-1) !== update.state) states.push(update.state);
    }
  })();
  writer.update({ state: 'running' });
  for (let number = 1; number <= 50; number++) {
    await writer.event(step(number));
    if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await writer.end('finished');
  await following;
  assert.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, index) => index + 1),
  );
  assert.equal(states.at(-1), 'finished');
});

test('following ends at once when asked to', { timeout: 120_000 }, async (context) => {
  const run = await newRun(context);
  const stop = new AbortController();
  const updates: string[] = [];
  for await (const update of new RunReader(run, { pollInterval: 60_000 }).follow(stop.signal)) {
    updates.push(update.state);
    setTimeout(() => stop.abort(), 50);
  }
  assert.deepEqual(updates, ['starting']);
});
