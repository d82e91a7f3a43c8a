import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { wrongPlatform } from '../../src/editor/start/platform';
import { resumeRun, startRun, type Launch } from '../../src/editor/start/start-run';
import { parseExperiment, resolvePaths, type Experiment } from '../../src/experiment';
import { readOwner, readState, sendControl } from '../../src/runs';
import { livenessOf } from '../../src/runs/process-identity';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-start-'));
after(async () => {
  await endTrainers();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
});
cpSync('samples/first-run', folder, { recursive: true });
const experimentFile = path.join(folder, 'w2-rank32.lrqat.json');
const runsFolder = path.join(folder, '.lrqat', 'runs');
const launch: Launch = { nodePath: process.execPath, environment: process.env };

/** Those that a failed test has left. */
async function endTrainers(): Promise<void> {
  for (const name of existsSync(runsFolder) ? readdirSync(runsFolder) : []) {
    const owner = await readOwner(path.join(runsFolder, name)).catch(() => null);
    if (owner !== null && livenessOf(owner) === 'alive') process.kill(owner.pid, 'SIGKILL');
  }
}

function shortExperiment(steps: number): Experiment {
  const text = readFileSync(experimentFile, 'utf8')
    .replace('"steps": 150', `"steps": ${String(steps)}`)
    .replace('"everySteps": 50, "maxBatches": 16', '"everySteps": 0, "maxBatches": 1')
    .replace('"sequenceLength": 256', '"sequenceLength": 32');
  const { experiment } = parseExperiment(text, experimentFile);
  assert.ok(experiment !== undefined);
  return resolvePaths(experiment, experimentFile, {}, existsSync);
}

async function untilState(directory: string, ...states: readonly string[]): Promise<void> {
  for (const end = Date.now() + 120_000; ;) {
    const { state } = await readState(directory);
    if (states.includes(state)) return;
    assert.ok(Date.now() < end, `${state}, not ${states.join(' or ')}`);
    await sleep(50);
  }
}

test('a run starts detached, stops, and resumes from its checkpoint', { timeout: 300_000 }, async () => {
  // Longer than any look at it.
  const experiment = shortExperiment(100_000);
  const directory = await startRun({ experiment, experimentFile, runsFolder }, launch);
  await untilState(directory, 'running');
  await assert.rejects(resumeRun(directory, launch), /in progress already/);
  await sendControl(directory, 'pause');
  await untilState(directory, 'paused');
  assert.deepEqual(await resumeRun(directory, launch), { how: 'continued' });
  await untilState(directory, 'running');
  await sendControl(directory, 'stop');
  await untilState(directory, 'stopped');
  const { status } = await readState(directory);
  assert.deepEqual(await resumeRun(directory, launch), { how: 'restarted', fromStep: status.lastCheckpoint });
  await untilState(directory, 'running');
  await sendControl(directory, 'stop', { save: false });
  await untilState(directory, 'stopped');
});

test('a run that has come to its end cannot be resumed', { timeout: 180_000 }, async () => {
  const directory = await startRun({ experiment: shortExperiment(2), experimentFile, runsFolder }, launch);
  await untilState(directory, 'finished');
  await assert.rejects(resumeRun(directory, launch), /nothing to resume/);
});

test('a trainer that does not come up leaves a run that says why', { timeout: 60_000 }, async () => {
  const before = new Set(readdirSync(runsFolder));
  const broken: Launch = { ...launch, nodePath: path.join(folder, 'no-such-node') };
  await assert.rejects(
    startRun({ experiment: shortExperiment(2), experimentFile, runsFolder }, broken),
    /no-such-node|ENOENT/,
  );
  const [name] = readdirSync(runsFolder).filter((each) => !before.has(each));
  assert.ok(name !== undefined);
  const { state, status } = await readState(path.join(runsFolder, name));
  assert.equal(state, 'failed');
  assert.match(status.error?.message ?? '', /could not be started/);
});

test('without an engine there is no run, only a reason', async () => {
  const before = readdirSync(runsFolder).length;
  const without = { ...launch, environment: { LRQAT_NATIVE: path.join(folder, 'nowhere') } };
  await assert.rejects(
    startRun({ experiment: shortExperiment(2), experimentFile, runsFolder }, without),
    /LRQAT_NATIVE/,
  );
  assert.equal(readdirSync(runsFolder).length, before);
});

test('a package for another machine says so in one sentence', () => {
  const native = path.join(folder, 'dist', 'native');
  mkdirSync(native, { recursive: true });
  writeFileSync(path.join(native, 'package.json'), JSON.stringify({ target: 'linux-x64' }));
  const bundle = path.dirname(native);
  assert.equal(wrongPlatform(bundle, 'linux', 'x64'), null);
  assert.match(wrongPlatform(bundle, 'darwin', 'arm64') ?? '', /trains on linux-x64 and this is darwin-arm64/);
  assert.equal(wrongPlatform(folder, 'darwin', 'arm64'), null, 'a clone has a build of its own');
});
