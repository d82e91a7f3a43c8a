import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bestOf,
  buildTree,
  DEFAULT_TREE_OPTIONS,
  treeChanges,
  type ExplorerNode,
  type TreeOptions,
} from '../../src/editor/explorer/tree-model';
import type { RunEntry } from '../../src/runs';
import { listedRun } from './runs';

const A = '/w/a.lrqat.json';
const B = '/w/b.lrqat.json';

/** Labels of groups with the names of their runs. */
function outline(nodes: readonly ExplorerNode[]): unknown[] {
  return nodes.map((node) =>
    node.type === 'run' ? node.entry.name : [node.label, ...node.runs.map(({ entry }) => entry.name)],
  );
}

const tree = (entries: readonly RunEntry[], options: Partial<TreeOptions> = {}, files = [A, B]): unknown[] =>
  outline(buildTree(entries, files, { ...DEFAULT_TREE_OPTIONS, ...options }));

const old = listedRun('20250101-000000-a', { status: { created: 1, best: { step: 1, perplexity: 10 } } });
const recent = listedRun('20250102-000000-a', { status: { created: 2, best: { step: 1, perplexity: 20 } } });
const unmeasured = listedRun('20250103-000000-a', { status: { created: 3 } });
const broken: RunEntry = { kind: 'broken', name: '20250104-000000-x', directory: '/runs/x', reason: 'damaged' };

test('experiments of the workspace have their runs below, newest first; others are grouped by name', () => {
  const elsewhere = listedRun('20250105-000000-z', {
    origin: { experimentFile: '/home/other/z.lrqat.json', experimentName: 'z' },
  });
  assert.deepEqual(tree([old, recent, elsewhere, broken]), [
    ['a', recent.name, old.name],
    ['b'],
    ['x', broken.name],
    ['z', elsewhere.name],
  ]);
});

test('two files of one name are told apart by their folders', () => {
  assert.deepEqual(tree([], {}, ['/w/one/a.lrqat.json', '/w/two/a.lrqat.json']), [['a (one)'], ['a (two)']]);
});

test('by perplexity the best comes first and what was not measured last', () => {
  assert.deepEqual(tree([unmeasured, recent, old], { sort: 'perplexity' })[0], [
    'a',
    old.name,
    recent.name,
    unmeasured.name,
  ]);
});

test('starred runs come first, then live ones', () => {
  const starred = { ...old, notes: { star: true } };
  const live = listedRun('20240101-000000-a', { state: 'running', status: { created: 0 } });
  assert.deepEqual(tree([recent, starred, live])[0], ['a', starred.name, live.name, recent.name]);
});

test('grouped by state, in the order of what needs attention', () => {
  const running = listedRun('r', { state: 'running' });
  const failed = listedRun('f', { state: 'failed' });
  assert.deepEqual(tree([old, failed, broken, running], { group: 'state' }), [
    ['Running', 'r'],
    ['Failed', 'f'],
    ['Finished', old.name],
    ['Unreadable', broken.name],
  ]);
});

test('all words of a filter must match name, tag, note or state', () => {
  const tagged = listedRun('t', { notes: { tags: ['ablation'], note: 'with warmup', name: 'Best One' } });
  const all = [old, tagged];
  const names = (filter: string): unknown[] => tree(all, { group: 'none', filter });
  assert.deepEqual(names('#abl'), ['t']);
  assert.deepEqual(names('best FINISHED'), ['t']);
  assert.deepEqual(names('warmup failed'), []);
  assert.deepEqual(names('  '), tree(all, { group: 'none' }));
  assert.deepEqual(tree(all, { filter: '#abl' }), [['a', 't']], 'experiments without a match are left out');
  assert.deepEqual(tree(all, { filter: 'b' }, [A, B]).at(-1), ['b'], 'an experiment may match by its own name');
});

test('the best of a group', () => {
  const [group] = buildTree([unmeasured, recent, old], [A], DEFAULT_TREE_OPTIONS);
  assert.ok(group?.type === 'experiment');
  assert.equal(bestOf(group.runs)?.name, old.name);
});

test('only what changed is redrawn', () => {
  const build = (entries: readonly RunEntry[], files = [A, B]): readonly ExplorerNode[] =>
    buildTree(entries, files, DEFAULT_TREE_OPTIONS);
  const before = build([old, recent]);
  const ids = (after: readonly ExplorerNode[]): unknown => {
    const changes = treeChanges(before, after);
    return changes === 'all' ? 'all' : changes.map(({ id }) => id);
  };
  assert.deepEqual(ids(build([old, recent])), []);
  const changed = { ...old, notes: { note: 'x' } };
  assert.deepEqual(ids(build([changed, recent])), [`run:${old.directory}`]);
  const better = { ...old, status: { ...old.status, best: { step: 2, perplexity: 9 } } };
  assert.deepEqual(ids(build([better, recent])), [`run:${old.directory}`, `file:${A}`], 'the best of the group');
  assert.deepEqual(ids(build([old])), [`file:${A}`]);
  assert.deepEqual(ids(build([old, recent], [A])), 'all');
});
