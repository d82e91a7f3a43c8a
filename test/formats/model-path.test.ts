import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { resolveModelPath } from '../../src/formats';
import { refuses, temporaryFolder } from './support';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const OTHER = '0123999999999999999999999999999999999999';

interface World {
  readonly home: string;
  readonly base: string;
  readonly resolve: (modelPath: string, environment?: NodeJS.ProcessEnv) => Promise<string>;
}

function world(context: TestContext): World {
  const home = temporaryFolder(context);
  const base = path.join(home, 'project');
  mkdirSync(base);
  return {
    home,
    base,
    resolve: (modelPath, environment = {}) => resolveModelPath(modelPath, base, { environment, homeDirectory: home }),
  };
}

function cacheModel(hub: string, id: string, references: Readonly<Record<string, string>>): string {
  const repository = path.join(hub, `models--${id.replace('/', '--')}`);
  for (const commit of [COMMIT, OTHER]) mkdirSync(path.join(repository, 'snapshots', commit), { recursive: true });
  for (const [name, commit] of Object.entries(references)) {
    const file = path.join(repository, 'refs', name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, commit);
  }
  return path.join(repository, 'snapshots');
}

test('folders: absolute, with ~, relative to the experiment', async (context) => {
  const { home, base, resolve } = world(context);
  for (const folder of [path.join(home, 'a'), path.join(base, 'b', 'c')]) mkdirSync(folder, { recursive: true });
  assert.equal(await resolve(path.join(home, 'a')), path.join(home, 'a'));
  assert.equal(await resolve('~/a'), path.join(home, 'a'));
  assert.equal(await resolve('../a'), path.join(home, 'a'));
  assert.equal(await resolve('b/c'), path.join(base, 'b', 'c'), 'a folder comes before an id of the same form');
});

test('cached ids, with branches, tags, commits and starts of commits', async (context) => {
  const { home, resolve } = world(context);
  const snapshots = cacheModel(path.join(home, '.cache/huggingface/hub'), 'org/my-model', {
    main: COMMIT,
    'refs/pr/1': `${OTHER}\n`,
  });
  assert.equal(await resolve('org/my-model'), path.join(snapshots, COMMIT));
  assert.equal(await resolve('org/my-model@main'), path.join(snapshots, COMMIT));
  assert.equal(await resolve('org/my-model@refs/pr/1'), path.join(snapshots, OTHER));
  assert.equal(await resolve(`org/my-model@${OTHER}`), path.join(snapshots, OTHER));
  assert.equal(await resolve('org/my-model@0123999'), path.join(snapshots, OTHER));
  await refuses(() => resolve('org/my-model@none'), /model "org\/my-model@none" was not found; searched:.*refs.none/s);
  await refuses(() => resolve('org/my-model@../../x'), /not found/);
});

test('the cache is where huggingface_hub has it', async (context) => {
  const { home, resolve } = world(context);
  const place = (folder: string): string =>
    path.join(cacheModel(path.join(home, folder), 'org/m', { main: COMMIT }), COMMIT);
  const [byHome, byCache, byXdg] = [place('hf/hub'), place('cache'), place('xdg/huggingface/hub')];
  assert.equal(await resolve('org/m', { HF_HOME: path.join(home, 'hf') }), byHome);
  assert.equal(await resolve('org/m', { HF_HOME: '~/hf' }), byHome);
  assert.equal(
    await resolve('org/m', { HF_HUB_CACHE: path.join(home, 'cache'), HF_HOME: path.join(home, 'hf') }),
    byCache,
  );
  assert.equal(await resolve('org/m', { XDG_CACHE_HOME: path.join(home, 'xdg') }), byXdg);
});

test('what is not there: where was searched and how to get it', async (context) => {
  const { base, resolve } = world(context);
  const error = await refuses(
    () => resolve('org/absent@v2'),
    /model "org\/absent@v2" was not found/,
    /models--org--absent/,
  );
  assert.ok(error.message.includes(path.join(base, 'org/absent@v2')));
  assert.match(error.hint ?? '', /hf download org\/absent --revision v2/);
  writeFileSync(path.join(base, 'file.gguf'), '');
  await refuses(() => resolve('file.gguf'), /file\.gguf is a file/);
  await refuses(() => resolve('  '), /model path is empty/);
  await refuses(() => resolve('a\0b'), /not found/);
  await refuses(() => resolve('x'.repeat(5000)), /not found/);
});

test('a reference that holds anything but a commit is not followed', async (context) => {
  const { home, resolve } = world(context);
  cacheModel(path.join(home, '.cache/huggingface/hub'), 'org/m', { main: '../../../../project' });
  await refuses(() => resolve('org/m'), /not found/);
});
