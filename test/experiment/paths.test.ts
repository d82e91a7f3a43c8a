import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

import { isHubId, resolvePaths } from '../../src/experiment';
import { experimentWith } from './make';

const file = path.resolve('/work/project/experiments/a.lrqat.json');
const folder = path.dirname(file);

function modelPath(written: string, exists: (p: string) => boolean = () => false): string {
  const experiment = experimentWith(`model.path=${JSON.stringify(written)}`);
  return resolvePaths(experiment, file, { workspaceFolder: path.resolve('/work/project') }, exists, {
    home: '/home/me',
  }).model.path;
}

test('paths are taken from the folder of the file', () => {
  assert.equal(modelPath('model'), path.join(folder, 'model'));
  assert.equal(modelPath('../models/x'), path.resolve('/work/project/models/x'));
  assert.equal(modelPath('./org/name'), path.join(folder, 'org', 'name'));
  assert.equal(modelPath('/data/model'), path.resolve('/data/model'));
});

test('~ is the home folder, only at the start', () => {
  assert.equal(modelPath('~/models/x'), path.resolve('/home/me/models/x'));
  assert.equal(modelPath('~'), path.resolve('/home/me'));
  assert.equal(modelPath('a/~x'), 'a/~x'.includes('~') ? path.join(folder, 'a', '~x') : '');
  assert.equal(modelPath('~other/x'), path.join(folder, '~other', 'x'));
});

test('variables', () => {
  assert.equal(modelPath('${workspaceFolder}/models/x'), path.resolve('/work/project/models/x'));
  // Told of by runsToCheck, with its place.
  assert.equal(modelPath('${workspace}/x'), path.join(folder, '${workspace}', 'x'));
  assert.equal(modelPath('${toString}/x'), path.join(folder, '${toString}', 'x'));
});

test('a hub id stays one unless there is such a folder', () => {
  assert.equal(modelPath('meta-llama/Llama-2-7b-hf'), 'meta-llama/Llama-2-7b-hf');
  assert.equal(
    modelPath('meta-llama/Llama-2-7b-hf', () => true),
    path.join(folder, 'meta-llama/Llama-2-7b-hf'),
  );
  assert.ok(isHubId('a/b'));
  assert.ok(isHubId('a/b@refs/pr/1'));
  for (const other of ['model', 'a/b/c', './a/b', '../b', '~/b', '/a/b', 'a/', '']) assert.ok(!isHubId(other), other);
});

test('all texts are resolved, globs stay globs', () => {
  const experiment = experimentWith(
    'data.train=["a.txt","sub/**/*.jsonl"]',
    'data.validation=["~/v.txt"]',
    'evaluation.wikitext.files=["wiki.test.raw"]',
  );
  const resolved = resolvePaths(experiment, file, {}, () => false, { home: '/home/me' });
  assert.deepEqual(resolved.data.train, [path.join(folder, 'a.txt'), path.join(folder, 'sub/**/*.jsonl')]);
  assert.deepEqual(resolved.data.validation, [path.resolve('/home/me/v.txt')]);
  assert.deepEqual(resolved.evaluation.wikitext.files, [path.join(folder, 'wiki.test.raw')]);
  assert.deepEqual(resolvePaths(resolved, '/elsewhere/x.lrqat.json'), resolved, 'resolving again changes nothing');
});

test('the folder of a glob is a name, even with brackets', () => {
  const experiment = experimentWith('data.train=["*.txt","a[1].txt"]');
  const odd = path.resolve('/work/runs (2)/[x]/e.lrqat.json');
  const there = path.resolve('/work/runs (2)/[x]/a[1].txt');
  assert.deepEqual(resolvePaths(experiment, odd, {}, (name) => name === there).data.train, [
    '/work/runs \\(2\\)/\\[x\\]/*.txt',
    there,
  ]);
});
