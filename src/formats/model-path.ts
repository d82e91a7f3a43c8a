// From what an experiment says under "model.path" to a folder: a path, or the id of a model in the Hugging Face cache.
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';

/** `org/name` with an optional `@revision`; the characters that the hub allows. */
const HUB_ID = /^([A-Za-z0-9][\w.-]*)\/([A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;

export interface ResolveOptions {
  readonly environment?: NodeJS.ProcessEnv;
  readonly homeDirectory?: string;
}

/** Folder of a model: `modelPath` absolute, with `~`, or relative to `baseDir`; where no such folder exists and it reads like
 *  `org/name[@revision]`, that model in the local Hugging Face cache. Nothing is downloaded.
 *  @throws UserError ModelNotFound that lists where was searched */
export async function resolveModelPath(
  modelPath: string,
  baseDir: string,
  options: ResolveOptions = {},
): Promise<string> {
  const environment = options.environment ?? process.env;
  const home = options.homeDirectory ?? os.homedir();
  if (modelPath.trim() === '') throw new UserError('ModelNotFound', 'model path is empty', { hint: HOW });
  const folder = path.resolve(baseDir, expandHome(modelPath, home));
  const kind = await kindOf(folder);
  if (kind === 'folder') return folder;
  if (kind === 'file') {
    throw new UserError('ModelNotFound', `model "${modelPath}": ${folder} is a file`, {
      hint: 'Give the folder that holds config.json and the safetensors files.',
    });
  }
  const searched = [folder];
  const id = HUB_ID.exec(modelPath);
  if (id !== null) {
    const [, organization = '', name = '', revision = 'main'] = id;
    for (const cache of cacheFolders(environment, home)) {
      const repository = path.join(cache, `models--${organization}--${name}`);
      const snapshot = await findSnapshot(repository, revision, searched);
      if (snapshot !== null) return snapshot;
    }
  }
  const list = searched.map((place) => `\n  ${place}`).join('');
  throw new UserError('ModelNotFound', `model "${modelPath}" was not found; searched:${list}`, {
    hint: id === null ? HOW : `${HOW} To download it once: hf download ${modelPath.replace('@', ' --revision ')}`,
  });
}

const HOW = 'Give a Hugging Face folder (absolute, with ~, or relative to the experiment) or the id of a cached model.';

function expandHome(text: string, home: string): string {
  return text === '~' || text.startsWith('~/') || text.startsWith('~\\') ? path.join(home, text.slice(1)) : text;
}

/** Where huggingface_hub keeps models, first match first. An explicit folder is the only one, as there. */
export function cacheFolders(environment: NodeJS.ProcessEnv, home: string): string[] {
  const set = (name: string): string | null => {
    const value = environment[name];
    return value === undefined || value === '' ? null : path.resolve(expandHome(value, home));
  };
  const explicit = set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE');
  if (explicit !== null) return [explicit];
  const hfHome = set('HF_HOME');
  if (hfHome !== null) return [path.join(hfHome, 'hub')];
  return [path.join(set('XDG_CACHE_HOME') ?? path.join(home, '.cache'), 'huggingface', 'hub')];
}

/** The snapshot of a branch, tag, commit or unambiguous start of one; null when the cache has none. Adds to `searched`. */
async function findSnapshot(repository: string, revision: string, searched: string[]): Promise<string | null> {
  const snapshots = path.join(repository, 'snapshots');
  if (revision.split('/').some((part) => part === '' || part === '.' || part === '..')) return null;
  const reference = path.join(repository, 'refs', ...revision.split('/'));
  const commit = COMMIT.test(revision) ? revision : await readReference(reference);
  if (commit !== null) {
    const snapshot = path.join(snapshots, commit);
    searched.push(snapshot);
    return (await kindOf(snapshot)) === 'folder' ? snapshot : null;
  }
  searched.push(reference);
  if (!/^[0-9a-f]{7,39}$/.test(revision)) return null;
  const matches = (await namesIn(snapshots)).filter((name) => COMMIT.test(name) && name.startsWith(revision));
  return matches.length === 1 ? path.join(snapshots, matches[0] ?? '') : null;
}

async function readReference(file: string): Promise<string | null> {
  try {
    const commit = (await readFile(file, 'utf8')).trim();
    // The contents become a path.
    return COMMIT.test(commit) ? commit : null;
  } catch (error) {
    if (systemErrorCode(error) !== null) return null;
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) !== null) return [];
    throw error;
  }
}

async function kindOf(place: string): Promise<'folder' | 'file' | null> {
  try {
    return (await stat(await realpath(place))).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG' || code === 'ERR_INVALID_ARG_VALUE')
      return null;
    throw new UserError('ModelNotFound', `${place}: cannot be looked at (${code ?? String(error)})`, { cause: error });
  }
}
