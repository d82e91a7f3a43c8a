// From paths as written to paths as used: `~`, variables, and relative to the experiment file.

import { homedir } from 'node:os';
import { dirname, isAbsolute, resolve } from 'node:path';

import { escapePath, isDynamicPattern } from 'tinyglobby';

import { UserError } from '../errors';
import type { Experiment } from './schema';

/** What `${name}` stands for; `workspaceFolder` is given by the editor and, in a terminal, is the current folder. */
export type PathVariables = Readonly<Record<string, string>>;

export interface PathEnvironment {
  readonly home: string;
}

/**
 * The experiment with absolute paths, relative ones taken from the folder of `file`. Globs stay globs (absolute). A model
 * path of the form `organisation/name` that starts with no dot stays as it is when `exists` denies it: then it is the hub id
 * of a cached model, which resolveModelPath of formats finds.
 * @throws UserError UnknownVariable
 */
export function resolvePaths(
  experiment: Experiment,
  file: string,
  variables: PathVariables = {},
  exists: (path: string) => boolean = () => false,
  environment: PathEnvironment = { home: homedir() },
): Experiment {
  const base = dirname(resolve(file));
  const one = (path: string, key: string): string => resolvePath(path, key, base, variables, environment);
  const many = (paths: readonly string[], key: string): string[] =>
    paths.map((path, index) => {
      const whole = one(path, `${key}[${String(index)}]`);
      // The folder of a glob is a name, whatever characters it has.
      return whole.startsWith(base) && isDynamicPattern(path) && isDynamicPattern(base) && !exists(whole)
        ? escapePath(base) + whole.slice(base.length)
        : whole;
    });
  const { model, data, evaluation } = experiment;
  const modelPath = one(model.path, 'model.path');
  return {
    ...experiment,
    model: { ...model, path: isHubId(model.path) && !exists(modelPath) ? model.path : modelPath },
    data: { ...data, train: many(data.train, 'data.train'), validation: many(data.validation, 'data.validation') },
    evaluation: {
      ...evaluation,
      wikitext: { ...evaluation.wikitext, files: many(evaluation.wikitext.files, 'evaluation.wikitext.files') },
    },
  };
}

/** `organisation/name` as the Hugging Face hub spells ids, with an optional `@revision`. */
export function isHubId(path: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$/.test(path);
}

/** One absolute path with forward slashes where the platform takes them in globs. */
function resolvePath(
  written: string,
  key: string,
  base: string,
  variables: PathVariables,
  environment: PathEnvironment,
): string {
  const expanded = written.replace(/\$\{([^}]*)\}/g, (_, name: string) => {
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (value === undefined) {
      const known = Object.keys(variables).map((variable) => `\${${variable}}`);
      throw new UserError('UnknownVariable', `${key}: \${${name}} in ${JSON.stringify(written)} is not known`, {
        hint: known.length > 0 ? `known here: ${known.join(', ')}` : 'write the folder itself',
      });
    }
    return value;
  });
  const home = /^~(?=$|[\\/])/.test(expanded) ? `${environment.home}${expanded.slice(1)}` : expanded;
  return isAbsolute(home) ? resolve(home) : resolve(base, home);
}
