// Models that a new experiment may start from: those in the workspace and those of the Hugging Face cache.
import { readdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

/** Hub ids of models in the cache (`organisation/name`), by name. */
export async function cachedModels(environment: NodeJS.ProcessEnv = process.env): Promise<string[]> {
  const home = environment['HF_HOME'] ?? path.join(os.homedir(), '.cache', 'huggingface');
  const cache = environment['HF_HUB_CACHE'] ?? path.join(home, 'hub');
  const names = await readdir(cache).catch(() => []);
  return names
    .flatMap((name) => {
      const [, organisation, model] = /^models--(.+?)--(.+)$/.exec(name) ?? [];
      return organisation === undefined || model === undefined ? [] : [`${organisation}/${model}`];
    })
    .sort((one, other) => one.localeCompare(other));
}
