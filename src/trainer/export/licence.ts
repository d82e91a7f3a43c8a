// What a model folder says about its licence: the front matter of its README.md, and the names of licence files.
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

export interface Licence {
  /** As the front matter has it: `apache-2.0`, `llama3.1`; null: nothing is said. */
  readonly id: string | null;
  /** Files that hold its text, which a copy of the model must keep. */
  readonly files: readonly string[];
}

const LICENCE_FILE = /^(licen[cs]e|notice|copying|use_policy)(\.(md|txt))?$/i;

export async function licenceOf(modelFolder: string): Promise<Licence> {
  const names = await readdir(modelFolder);
  const readme = names.find((name) => name.toLowerCase() === 'readme.md');
  const text = readme === undefined ? '' : await readFile(path.join(modelFolder, readme), 'utf8');
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(text)?.[1] ?? '';
  const value = (key: string): string | null =>
    new RegExp(`^${key}:[ \\t]*["']?([^"'\\r\\n#]+?)["']?[ \\t]*$`, 'm').exec(front)?.[1] ?? null;
  // `license: other` is explained by its name.
  const id = value('license');
  return {
    id: id === 'other' ? (value('license_name') ?? id) : id,
    files: names.filter((name) => LICENCE_FILE.test(name)).sort(),
  };
}
