// What the charts' header is told, also of runs that cannot be read: every message must pass the panel's own check.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceText, runInfo, type RunProgress } from '../../src/editor/charts/run-info';
import type { ListedRun, RunEntry } from '../../src/runs';
import { Runs, type RunInfo } from '../../webview/charts/protocol';
import { listedRun } from './runs';

const progress: RunProgress = { loading: null, pending: null, device: null, setting: 'LSQ · W2' };

function info(entry: RunEntry | undefined, last: ListedRun | null = null): RunInfo {
  const made = runInfo('file:///runs/r', '/runs/r', entry, last, progress);
  const message = Runs.of({ runs: [made], controls: { allowed: true, reason: null } });
  assert.doesNotThrow(() => Runs.check(message.params, 'runs'));
  return made;
}

test('a run in training', () => {
  const run = listedRun('20250131-140203-w2', { state: 'running', status: { step: 3, etaSeconds: 9, phase: null } });
  const made = info(run);
  assert.equal(made.experiment, 'a');
  assert.match(made.name, /^a · .*14:02/);
  assert.equal(made.state, 'running');
  assert.equal(made.problem, null);
  assert.equal(made.setting, 'LSQ · W2');
});

test('a run whose folder is gone keeps what was known and says so', () => {
  const made = info(undefined, listedRun('r', { state: 'running', status: { step: 7 } }));
  assert.equal(made.step, 7);
  assert.match(made.problem?.message ?? '', /deleted or moved/);
  assert.equal(info(undefined).name, 'r', 'nothing was known: the name of the folder');
});

test('a folder that cannot be read says why', () => {
  const broken: RunEntry = { kind: 'broken', name: 'r', directory: '/runs/r', reason: 'status.json is damaged' };
  const made = info(broken);
  assert.equal(made.name, 'r');
  assert.match(made.problem?.message ?? '', /damaged/);
});

test('numbers that somebody has edited are no reason to show nothing', () => {
  const made = info(listedRun('r', { status: { step: -1, totalSteps: 2.5, attempt: NaN } }));
  assert.deepEqual([made.step, made.totalSteps, made.attempt], [0, 0, 0]);
});

test('the device in words', () => {
  assert.equal(
    deviceText({ device: 'cpu', isa: 'avx512', compute: 'bf16', threads: 2, processor: 'x' }),
    'CPU · AVX-512 · bf16 · 2 threads',
  );
  const gpu = { index: 0, name: 'NVIDIA H100' };
  assert.equal(
    deviceText({ device: 'cuda', gpu, isa: 'avx2', compute: 'bf16', threads: 2 }),
    'CUDA · NVIDIA H100 · bf16',
  );
  assert.equal(deviceText({}), null);
  assert.equal(deviceText('cpu'), null);
});
