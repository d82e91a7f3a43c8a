// Commands that need no engine, on runs that the real writer has written.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { createRun, RESULT_SCHEMA, RunWriter, sendControl, type EvalEvent, type RunResult } from '../../src/runs';
import { experimentNamed } from '../runs/support';
import { CLI, lrqat, SAMPLE, start, temporaryFolder } from './support';

const result = (trained: number): RunResult => ({
  schema: RESULT_SCHEMA,
  perplexity: { float: 10, roundToNearest: 20, trained, merged: trained },
  bitsPerWeight: 2.25,
  modelBytes: 3 * 1024 * 1024,
  float: { bitsPerWeight: 16, modelBytes: 6 * 1024 * 1024 },
  gapClosed: (20 - trained) / 10,
  peakMemoryBytes: 1e7,
  residentMemoryBytes: 2e7,
  tokensPerSecond: 12_345,
  seconds: 75,
});

const evaluation = (step: number, form: EvalEvent['form'], perplexity: number): EvalEvent => ({
  type: 'eval',
  step,
  kind: 'validation',
  form,
  perplexity,
  loss: Math.log(perplexity),
  tokens: 100,
  time: 0,
});

/** A finished run, as the trainer would have left it. */
async function finishedRun(folder: string, name: string, trained: number, day = 1): Promise<string> {
  const { directory } = await createRun({
    runsFolder: path.join(folder, 'runs'),
    experiment: experimentNamed(name, day * 100),
    experimentFile: path.join(folder, 'x.lrqat.json'),
    now: () => new Date(2026, 0, day, 12).getTime(),
  });
  const writer = await RunWriter.open(directory);
  await writer.event(evaluation(0, 'float', 10));
  await writer.event(evaluation(0, 'round-to-nearest', 20));
  await writer.event(evaluation(10, 'trained', trained));
  writer.update({ state: 'running', step: day * 100, loss: 2.5, best: { step: 10, perplexity: trained } });
  await writer.result(result(trained));
  await writer.end('finished');
  return directory;
}

async function twoRuns(context: TestContext): Promise<{ folder: string; runs: string[] }> {
  const folder = temporaryFolder(context);
  await finishedRun(folder, 'first', 15, 1);
  await finishedRun(folder, 'second', 12, 2);
  return { folder, runs: ['--runs', path.join(folder, 'runs')] };
}

test('help reads well: every command, examples and exit codes', async () => {
  const { code, stdout, stderr } = await lrqat(['--help']);
  assert.equal(code, 0);
  assert.equal(stderr, '');
  for (const name of [
    'train',
    'resume',
    'pause',
    'stop',
    'checkpoint',
    'list',
    'show',
    'compare',
    'export',
    'evaluate',
    'sensitivity',
    'new',
  ]) {
    assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
  }
  for (const name of ['estimate', 'validate', 'doctor']) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
  assert.match(stdout, /Exit codes:/);
  assert.match((await lrqat(['help', 'train'])).stdout, /--set <key=value>/);
  assert.match((await lrqat(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
});

test('wrong use ends with 2, says what is wrong and what was meant', async () => {
  for (const [args, message] of [
    [['trian'], /unknown command 'trian'[\s\S]*Did you mean train/],
    [['train'], /missing required argument 'file'/],
    [['list', '--colour'], /unknown option '--colour'/],
    [['compare', 'x', '--format', 'xml'], /Allowed choices are table, csv, markdown, latex, html, json/],
    [['evaluate', 'x', '--data', 'y', '--sequence-length', '-3'], /whole number above 0/],
    [['train', 'missing.lrqat.json'], /missing\.lrqat\.json: no such file/],
    [['validate', SAMPLE, '--set', 'training.stepz=3'], /did you mean training\.steps/],
    [['show', 'nothing'], /no run "nothing" in/],
    [['list', '--runs', SAMPLE], /w2-rank32\.lrqat\.json: is a file, not a folder of runs/],
  ] as const) {
    const { code, stderr } = await lrqat(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n {4}at /, 'no stack');
  }
  const bare = await lrqat([]);
  assert.equal(bare.code, 2);
  assert.match(bare.stdout, /Usage: lrqat/);
});

test('validate prints all problems with their places, and ends with 2; a good file ends with 0', async (context) => {
  const good = await lrqat(['validate', SAMPLE]);
  assert.equal(good.code, 0, good.stdout + good.stderr);
  assert.match(good.stdout, /no problems/);
  const folder = temporaryFolder(context);
  const file = path.join(folder, 'bad.lrqat.json');
  writeFileSync(file, '{\n  "model": { "path": "none" },\n  "data": { "train": ["no.txt"] },\n  "trainin": {}\n}\n');
  const bad = await lrqat(['validate', file]);
  assert.equal(bad.code, 2);
  assert.match(bad.stdout, /bad\.lrqat\.json:4:3: error: .*trainin/);
  const json = await lrqat(['validate', file, '--json']);
  assert.equal(json.code, 2);
  const problems = JSON.parse(json.stdout) as { line: number; severity: string }[];
  assert.ok(problems.some(({ line, severity }) => line === 4 && severity === 'error'));
  const world = path.join(folder, 'world.lrqat.json');
  writeFileSync(world, '{\n  "model": { "path": "none" },\n  "data": { "train": ["no.txt"] }\n}\n');
  const missing = await lrqat(['validate', world]);
  assert.equal(missing.code, 2);
  assert.match(missing.stdout, /:2:\d+: error: model\.path/);
  assert.match(missing.stdout, /:3:\d+: error: .*no\.txt/);
  assert.match(missing.stdout, /2 errors/);
});

test('train refuses a bad experiment and leaves no run behind', async (context) => {
  const folder = temporaryFolder(context);
  const runs = path.join(folder, 'runs');
  const { code, stderr, stdout } = await lrqat(['train', SAMPLE, '--runs', runs, '--set', 'data.train=["none.txt"]']);
  assert.equal(code, 2);
  assert.match(stderr, /none\.txt/);
  assert.equal(stdout, '');
  assert.match((await lrqat(['list', '--runs', runs])).stdout, /^no runs in /);
});

test('estimate prints memory, time and disk, and what would make it fit', async () => {
  const fits = await lrqat(['estimate', SAMPLE]);
  assert.equal(fits.code, 0, fits.stderr);
  assert.match(fits.stdout, /total +\d+\.\d MiB/);
  assert.match(fits.stdout, /fits: the limit is/);
  const tight = await lrqat(['estimate', SAMPLE, '--set', 'memoryLimit=60MiB']);
  assert.equal(tight.code, 0, tight.stderr);
  assert.match(tight.stdout, /DOES NOT FIT/);
  assert.match(tight.stdout, /what would help[\s\S]*--set training\./);
  const json = JSON.parse((await lrqat(['estimate', SAMPLE, '--json'])).stdout) as {
    total: number;
    parts: Record<string, number>;
  };
  const sum = Object.values(json.parts).reduce((total, bytes) => total + bytes, 0);
  assert.equal(sum, json.total);
});

test('new writes a recipe of the paper for this model and these texts', async (context) => {
  const folder = temporaryFolder(context);
  mkdirSync(path.join(folder, 'experiments'));
  mkdirSync(path.join(folder, 'model'));
  assert.match((await lrqat(['new'])).stdout, /^paper\/w4-per-channel +The paper/m);
  const args = [
    'new',
    'paper/w3-g128',
    '--model',
    'model',
    '--train',
    'texts/*.txt',
    '--out',
    'experiments/a.lrqat.json',
  ];
  assert.deepEqual(await lrqat(args, { cwd: folder }), {
    code: 0,
    signal: null,
    stdout: 'experiments/a.lrqat.json\n',
    stderr: '',
  });
  const text = readFileSync(path.join(folder, 'experiments/a.lrqat.json'), 'utf8');
  assert.match(text, /"path": "\.\.\/model"/);
  assert.match(text, /"train": \["\.\.\/texts\/\*\.txt"\]/);
  assert.match(text, /"bits": 3, "granularity": \{ "group": 128 \}/);
  assert.match((await lrqat(args, { cwd: folder })).stderr, /exists already/);
  assert.match((await lrqat(['new', 'paper/w5'])).stderr, /no preset "paper\/w5"[\s\S]*paper\/w4-per-channel/);
  assert.match((await lrqat(['new', 'w4-g128'])).stderr, /--model is missing/);
  const elsewhere = await lrqat(['new', 'w4-g128', '--model', 'a/b', '--out', 'no/a.lrqat.json'], { cwd: folder });
  assert.equal(elsewhere.code, 2);
  assert.match(elsewhere.stderr, /--out no\/a\.lrqat\.json: its folder is not there/);
});

test('sensitivity refuses what makes no sense before it measures', async (context) => {
  const folder = temporaryFolder(context);
  const elsewhere = path.join(folder, 'new.lrqat.json');
  for (const [options, message] of [
    [['--bits', '2,9'], /Whole numbers from 2 to 8/],
    [['--budget', '0'], /A number above 0/],
    [['--write', 'new.lrqat.json'], /--write needs --budget/],
    [['--budget', '3', '--write', SAMPLE], /w2-rank32\.lrqat\.json: exists already/],
    [['--budget', '3', '--write', elsewhere], /not beside [\s\S]*relative to its folder/],
    [['--set', 'sweep={"quantization.weights.bits":[2,3]}'], /has a sweep[\s\S]*--set sweep=/],
    [['--report', 'map.pdf'], /not the name of an HTML file/],
    [['--report', 'no/map.html'], /the folder is not there/],
    [['--device', 'gpu'], /device: "gpu" is none[\s\S]*cuda:<index>/],
    [['--budget', '2.1'], /With scales they come to 2\.141 bits a weight/],
  ] as const) {
    const { code, stderr } = await lrqat(['sensitivity', SAMPLE, ...options]);
    assert.equal(code, 2, options.join(' '));
    assert.match(stderr, message);
  }
});

test('sensitivity draws the map, shares bits out and writes an experiment', async (context) => {
  const folder = temporaryFolder(context);
  const text = path.join(folder, 'text.txt');
  const file = path.join(folder, 'w2.lrqat.json');
  const written = path.join(folder, 'mixed.lrqat.json');
  const page = path.join(folder, 'map.html');
  writeFileSync(text, 'The river ran past the old mill and on to the sea. '.repeat(20));
  const model = JSON.stringify(path.join(path.dirname(SAMPLE), 'model'));
  writeFileSync(file, readFileSync(SAMPLE, 'utf8').replace('"path": "model"', `"path": ${model}`));
  const env = { XDG_CACHE_HOME: folder };
  const measured = ['--bits', '2,3', '--data', text, '--batches', '1', '--device', 'cpu'];
  const set = [
    '--set',
    'data.sequenceLength=64',
    '--set',
    'quantization.layers[]={"match":"*.self_attn.*","skip":true}',
  ];
  const { code, stdout, stderr } = await lrqat(
    ['sensitivity', file, ...measured, ...set, '--budget', '2.6', '--write', written, '--report', page],
    { env },
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^2 bits: perplexity/m);
  assert.match(stdout, /^block +q_proj.*down_proj$/m);
  assert.match(stdout, /^5 +– +– +– +– +\S+ [·░▒▓█] /m);
  assert.match(stdout, /^suggested mixture +2\.[0-5]\d\d /m);
  const mixed = readFileSync(written, 'utf8');
  assert.match(mixed, /^\/\/ 2-bit LR-QAT/, 'comments stay');
  assert.match(mixed, /"match": ".*mlp.*", "bits": [23] /);
  const html = readFileSync(page, 'utf8');
  assert.match(html, /<h2>Suggested bits for 2\.6 bits a weight<\/h2>[\s\S]*<h2>2 bits<\/h2>[\s\S]*<h2>3 bits<\/h2>/);
  assert.match(html, /<th scope="row">5<\/th>(<td>–<\/td>){4}(<td class="h\d+">−?[\d.]+<\/td>){3}/);
  assert.match(html, /class="h10"/, 'the largest loss of all maps');
  assert.doesNotMatch(html, /<script|https?:/, 'it needs nothing else');
});

test('list shows runs with their numbers; --json gives all', async (context) => {
  const { runs } = await twoRuns(context);
  const { code, stdout } = await lrqat(['list', ...runs]);
  assert.equal(code, 0);
  assert.match(stdout, /20260101-120000-first +finished +100\/100 +2\.5000 +15\.000 +50\.0 % +2\.25 +1 min 15 s/);
  const json = JSON.parse((await lrqat(['list', ...runs, '--json'])).stdout) as { name: string }[];
  assert.deepEqual(
    json.map(({ name }) => name),
    ['20260101-120000-first', '20260102-120000-second'],
  );
});

test('show gives the four-way table; names may be shortened', async (context) => {
  const { folder, runs } = await twoRuns(context);
  for (const name of ['latest', '20260102', path.join(folder, 'runs', '20260102-120000-second')]) {
    const { code, stdout } = await lrqat(['show', name, ...runs]);
    assert.equal(code, 0);
    assert.match(stdout, /^float +10\.000 +16\.00 +6\.00 MiB$/m);
    assert.match(stdout, /^trained +12\.000 +2\.25 +3\.00 MiB$/m);
    assert.match(stdout, /training closed 80\.0 % of the gap/);
  }
  const json = JSON.parse((await lrqat(['show', 'latest', '--json', ...runs])).stdout) as {
    state: string;
    events: unknown[];
  };
  assert.equal(json.state, 'finished');
  assert.ok(json.events.length > 3);
  const ambiguous = await lrqat(['show', '2026', ...runs]);
  assert.equal(ambiguous.code, 2);
  assert.match(ambiguous.stderr, /fits 2 runs/);
});

test('compare in all its forms', async (context) => {
  const { runs } = await twoRuns(context);
  const of = async (format: string): Promise<string> =>
    (await lrqat(['compare', '20260101', '20260102', '--format', format, ...runs])).stdout;
  assert.match(await of('table'), /trained perplexity +15\.000 +12\.000 \(−3\.000\)/);
  assert.match(await of('table'), /training\.steps +100 +200/);
  assert.match(await of('markdown'), /\| gap closed \| 50\.0 % \| \*\*80\.0 % \(\+30\.0 points\)\*\* \|/);
  const [header = '', first = ''] = (await of('csv')).split('\r\n');
  assert.equal(header.split(',').length, first.split(',').length);
  assert.match(first, /^20260101-120000-first,finished,10,20,15,/);
  const json = JSON.parse(await of('json')) as { runs: unknown[] };
  assert.equal(json.runs.length, 2);
});

test('a finished run cannot be stopped, and resume says that it is finished', async (context) => {
  const { runs } = await twoRuns(context);
  for (const verb of ['stop', 'pause', 'checkpoint']) {
    const { code, stderr } = await lrqat([verb, 'latest', ...runs]);
    assert.equal(code, 2);
    assert.match(stderr, /is finished: there is nothing to/);
  }
  const { code, stdout } = await lrqat(['resume', 'latest', ...runs]);
  assert.equal(code, 0);
  assert.match(stdout, /is finished: there is nothing to resume[\s\S]*merged +12\.000/);
});

test('pause and stop wait for the trainer to answer', { timeout: 120_000 }, async (context) => {
  const folder = temporaryFolder(context);
  const runsFolder = path.join(folder, 'runs');
  const experimentFile = path.join(folder, 'x.lrqat.json');
  const { directory } = await createRun({ runsFolder, experiment: experimentNamed('active'), experimentFile });
  // This process stands in for the trainer: it owns the run and answers as the trainer does.
  const writer = await RunWriter.open(directory);
  writer.update({ state: 'running', step: 3 });
  await writer.writeStatus();
  const early = await lrqat(['checkpoint', 'latest', '--timeout', '1', '--runs', runsFolder]);
  assert.equal(early.code, 1, early.stdout);
  assert.match(early.stderr, /was told to write a checkpoint; its trainer has not answered yet/);
  const unwatch = writer.watchControls((message) => {
    if (message.verb === 'pause') writer.update({ state: 'paused' });
    void writer.acknowledge(message).then(() => (message.verb === 'stop' ? writer.end('stopped') : undefined));
  });
  const paused = await lrqat(['pause', 'latest', '--runs', runsFolder]);
  assert.match(paused.stdout, /is paused at step 3; go on: lrqat resume/);
  const again = await lrqat(['pause', 'latest', '--runs', runsFolder]);
  assert.match(again.stdout, /is paused already/);
  const stopped = await lrqat(['stop', 'latest', '--runs', runsFolder]);
  assert.equal(stopped.code, 0);
  assert.match(stopped.stdout, /is stopped at step 3 \(nothing was saved\)/);
  unwatch();
});

test('a command whose reader has gone ends quietly', async (context) => {
  const folder = temporaryFolder(context);
  const runs = path.join(folder, 'runs');
  const source = await finishedRun(folder, 'many', 12);
  for (let index = 0; index < 600; index++) {
    const copy = `${source}-${String(index)}`;
    mkdirSync(copy);
    writeFileSync(path.join(copy, 'status.json'), JSON.stringify({ state: 'finished', step: index }));
  }
  const child = spawn('bash', ['-c', `'${process.execPath}' '${CLI}' list --json --runs '${runs}' | head -n 1`]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  await new Promise((resolve) => child.once('close', resolve));
  assert.equal(stderr, '');
});

test('output that cannot be written is one line of error', { skip: !existsSync('/dev/full') }, async () => {
  const child = spawn('bash', ['-c', `'${process.execPath}' '${CLI}' --help > /dev/full`]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.match(stderr, /^error: the output cannot be written \(ENOSPC[^\n]*\)\n$/);
  assert.equal(code, 1);
});

test('colours only where they are wanted', async (context) => {
  const { runs } = await twoRuns(context);
  const plain = await lrqat(['list', ...runs]);
  const escape = String.fromCharCode(0x1b);
  assert.ok(!plain.stdout.includes(escape));
  const forced = await lrqat(['list', ...runs], { env: { FORCE_COLOR: '1' } });
  assert.ok(forced.stdout.includes(`${escape}[32mfinished`));
  const refused = await lrqat(['list', ...runs], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } });
  assert.ok(!refused.stdout.includes(escape));
});

test('show --follow leaves on Ctrl-C and the run goes on', { timeout: 120_000 }, async (context) => {
  const folder = temporaryFolder(context);
  const runsFolder = path.join(folder, 'runs');
  const experimentFile = path.join(folder, 'x.lrqat.json');
  const { directory } = await createRun({ runsFolder, experiment: experimentNamed('active'), experimentFile });
  const writer = await RunWriter.open(directory);
  writer.update({ state: 'running' });
  await writer.writeStatus();
  const watching = start(['show', 'latest', '--follow', '--runs', runsFolder]);
  context.after(() => watching.child.kill('SIGKILL'));
  // It tells what comes after it has begun to look, which nothing shows from outside.
  const printed = watching.printed(/float perplexity 10\.000/).then(() => true);
  const aMoment = (): Promise<boolean> => new Promise((resolve) => setTimeout(() => resolve(false), 500));
  do {
    await writer.event(evaluation(0, 'float', 10));
  } while (!(await Promise.race([printed, aMoment()])));
  watching.child.kill('SIGINT');
  assert.equal((await watching.outcome).code, 130);
  assert.equal(await sendControl(directory, 'stop'), 1, 'nothing was asked of the trainer');
  await writer.end('stopped');
});
