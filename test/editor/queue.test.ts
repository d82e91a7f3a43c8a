// What the editor makes of queues: places, room, texts of the question.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { activeIn, inOrder, mayStart, placesOf, queuedByFolder } from '../../src/editor/queue/queue-places';
import { runLabel } from '../../src/editor/explorer/run-text';
import { statusBarText } from '../../src/editor/status-bar-text';
import { listedRun } from './runs';

const queued = (name: string, device = 'cpu') =>
  listedRun(name, { state: 'queued', status: { queue: { device, slot: null }, step: 0 } });
const running = (name: string, device: string | null) =>
  listedRun(name, { state: 'running', status: { queue: device === null ? null : { device, slot: 'ab' } } });

test('queued runs by folder, in the order of the file, others behind', () => {
  const other = { ...queued('x'), directory: '/elsewhere/x' };
  const entries = [queued('a'), running('b', 'cpu'), queued('c'), other, queued('d')];
  const folders = queuedByFolder(entries);
  assert.deepEqual([...folders.keys()], ['/runs', '/elsewhere']);
  const names = inOrder(folders.get('/runs') ?? [], ['d', 'gone', 'a']).map(({ name }) => name);
  assert.deepEqual(names, ['d', 'a', 'c']);
  assert.deepEqual(
    [...placesOf([queued('d'), other, queued('a')])],
    [
      ['/runs/d', { position: 1, of: 2 }],
      ['/elsewhere/x', { position: 1, of: 1 }],
      ['/runs/a', { position: 2, of: 2 }],
    ],
  );
  assert.deepEqual(
    activeIn(entries, '/runs').map(({ name }) => name),
    ['b'],
  );
});

test('runs of a sweep are called by what was swept, unless the user has named them', () => {
  const origin = { experimentFile: '/w/a.lrqat.json', experimentName: 'a-w2-rank8', combination: 'w2-rank8' };
  assert.equal(runLabel(listedRun('20260105-070809-a-w2-rank8', { origin })), 'w2-rank8');
  assert.equal(runLabel(listedRun('20260105-070809-a-w2-rank8', { origin, notes: { name: 'mine' } })), 'mine');
});

test('there is room on each device by itself, and a run started by hand may be on any', () => {
  assert.equal(mayStart([queued('a')], [], 1), true);
  assert.equal(mayStart([], [], 1), false);
  assert.equal(mayStart([queued('a')], [running('b', 'cpu')], 1), false);
  assert.equal(mayStart([queued('a')], [running('b', 'cpu')], 2), true);
  assert.equal(mayStart([queued('a'), queued('g', 'cuda:0')], [running('b', 'cpu')], 1), true);
  assert.equal(mayStart([queued('a'), queued('g', 'cuda:0')], [running('b', null)], 1), false);
});

test('the status bar tells how many wait, beside what trains', () => {
  const run = listedRun('r', { state: 'running', status: { created: 1, etaSeconds: 61 } });
  assert.equal(statusBarText([run, queued('a'), queued('b')])?.text, '$(loading~spin) a 50% · 1 min 1 s · 2 queued');
  const waiting = statusBarText([queued('a'), queued('b')]);
  assert.equal(waiting?.text, '$(clock) 2 queued');
});
