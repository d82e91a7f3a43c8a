import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { UserError } from '../../src/errors';
import { nodeFileSystem } from '../../src/formats/file-system';
import { ALGORITHMS_FILE, restoreAlgorithms, storeAlgorithms } from '../../src/trainer/algorithms';

async function folder(context: TestContext): Promise<string> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'lrqat-algorithms-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A library of one version, with the algorithms it has chosen or been given. */
function library(version: string, chosen: string) {
  return {
    chosen,
    algorithms(): Promise<string> {
      return Promise.resolve(this.chosen === '' ? '' : `${version}\n${this.chosen}`);
    },
    takeAlgorithms(text: string): Promise<boolean> {
      const [first = '', ...rest] = text.split('\n');
      if (!first.startsWith('lib ')) {
        return Promise.reject(Object.assign(new Error('no version'), { code: 'InvalidArgument' }));
      }
      if (first !== version) return Promise.resolve(false);
      this.chosen = rest.join('\n');
      return Promise.resolve(true);
    },
  };
}

test('what was chosen is stored and taken again', async (context) => {
  const run = await folder(context);
  const first = library('lib 1', 'a\nb\n');
  assert.equal(await restoreAlgorithms(run, first), null);
  await storeAlgorithms(nodeFileSystem, run, first);
  assert.equal(await readFile(path.join(run, ALGORITHMS_FILE), 'utf8'), 'lib 1\na\nb\n');
  const second = library('lib 1', '');
  assert.equal(await restoreAlgorithms(run, second), null);
  assert.equal(second.chosen, 'a\nb\n');
});

test('another version of the library is told about', async (context) => {
  const run = await folder(context);
  await storeAlgorithms(nodeFileSystem, run, library('lib 1', 'a\n'));
  const other = library('lib 2', '');
  assert.match((await restoreAlgorithms(run, other)) ?? '', /lib 1/);
  assert.equal(other.chosen, '');
});

test('where nothing is chosen, nothing is written', async (context) => {
  const run = await folder(context);
  await storeAlgorithms(nodeFileSystem, run, library('lib 1', ''));
  await assert.rejects(readFile(path.join(run, ALGORITHMS_FILE)), { code: 'ENOENT' });
});

test('a damaged file is refused by name', async (context) => {
  const run = await folder(context);
  await writeFile(path.join(run, ALGORITHMS_FILE), 'nonsense\n');
  await assert.rejects(restoreAlgorithms(run, library('lib 1', '')), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.equal(error.code, 'DamagedFile');
    assert.match(error.message, /algorithms\.txt/);
    return true;
  });
});
