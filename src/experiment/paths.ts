// From paths as written to paths as used: `~`, variables, and relative to the experiment file.

import { homedir } from 'node:os';
import { dirname, isAbsolute, resolve } from 'node:path';

import { escapePath, isDynamicPattern } from 'tinyglobby';

import { ExperimentDocument } from './document';
import { quoted } from './allowed';
import { locate, type ParsedExperiment, type SweepRun } from './parse';
import { pathText, type KeyPath, type Problem } from './problem';
import type { Experiment } from './schema';
import { mergeProblems } from './sweep-problems';

/** What `${name}` stands for; `workspaceFolder` is given by the editor and, in a terminal, is the current folder. */
export type PathVariables = Readonly<Record<string, string>>;

export interface PathEnvironment {
  readonly home: string;
}

/** A run to be checked further: one of a sweep, the one of a file, or what is sound of it. */
export interface RunToCheck extends SweepRun {
  /** See {@link SoundPart}. */
  readonly broken: readonly string[];
}

/** What of a file can be checked against the world, with its paths resolved, and the variables in them that stand for nothing.
 *  @param source as the problems name it
 *  @param file the same, absolute */
export function runsToCheck(
  { experiment, sweep, sound }: ParsedExperiment,
  source: { readonly text: string; readonly file: string },
  file: string,
  variables: PathVariables,
  exists: (path: string) => boolean,
): { readonly runs: readonly RunToCheck[]; readonly problems: readonly Problem[] } {
  const whole = experiment ?? sound?.experiment;
  if (whole === undefined) return { runs: [], problems: [] };
  const single = { name: whole.name, values: {}, redirects: [], ...sound, experiment: whole };
  const document = new ExperimentDocument(source.text, source.file);
  const found = (sweep ?? [single]).map((run) => {
    const problems = variableProblems(run, document, variables);
    const broken = [...(sound?.broken ?? []), ...problems.map(({ path }) => path)];
    return { ...run, broken, problems, experiment: resolvePaths(run.experiment, file, variables, exists) };
  });
  return { runs: found.map(({ problems: _, ...run }) => run), problems: mergeProblems(found) };
}

function variableProblems(
  { experiment, redirects }: SweepRun,
  document: ExperimentDocument,
  variables: PathVariables,
): Problem[] {
  const place = document.redirected(redirects);
  return writtenPaths(experiment).flatMap(([path, value]) => {
    const names = [...value.matchAll(VARIABLE)].map(([, name = '']) => name);
    const name = names.find((one) => !Object.hasOwn(variables, one));
    if (name === undefined) return [];
    const known = Object.keys(variables).map((variable) => `\${${variable}}`);
    const message = `${pathText(path)}: \${${name}} in ${quoted(value)} is not known`;
    const hint = known.length > 0 ? `known here: ${known.join(', ')}` : 'write the folder itself';
    return [locate(place, { path, value, message, hint })];
  });
}

const VARIABLE = /\$\{([^}]*)\}/g;

function writtenPaths({ model, data, evaluation }: Experiment): [KeyPath, string][] {
  const lists: [KeyPath, readonly string[]][] = [
    [['data', 'train'], data.train],
    [['data', 'validation'], data.validation],
    [['evaluation', 'wikitext', 'files'], evaluation.wikitext.files],
  ];
  return [
    [['model', 'path'], model.path],
    ...lists.flatMap(([path, files]) => files.map((file, index): [KeyPath, string] => [[...path, index], file])),
  ];
}

/**
 * The experiment with absolute paths, relative ones taken from the folder of `file`. Globs stay globs (absolute). A model
 * path of the form `organisation/name` that starts with no dot stays as it is when `exists` denies it: then it is the hub id
 * of a cached model, which resolveModelPath of formats finds. A variable that is not known stays as it is.
 */
export function resolvePaths(
  experiment: Experiment,
  file: string,
  variables: PathVariables = {},
  exists: (path: string) => boolean = () => false,
  environment: PathEnvironment = { home: homedir() },
): Experiment {
  const base = dirname(resolve(file));
  const one = (path: string): string => resolvePath(path, base, variables, environment);
  const many = (paths: readonly string[]): string[] =>
    paths.map((path) => {
      const whole = one(path);
      // The folder of a glob is a name, whatever characters it has.
      return whole.startsWith(base) && isDynamicPattern(path) && isDynamicPattern(base) && !exists(whole)
        ? escapePath(base) + whole.slice(base.length)
        : whole;
    });
  const { model, data, evaluation } = experiment;
  const modelPath = one(model.path);
  return {
    ...experiment,
    model: { ...model, path: isHubId(model.path) && !exists(modelPath) ? model.path : modelPath },
    data: { ...data, train: many(data.train), validation: many(data.validation) },
    evaluation: {
      ...evaluation,
      wikitext: { ...evaluation.wikitext, files: many(evaluation.wikitext.files) },
    },
  };
}

/** `organisation/name` as the Hugging Face hub spells ids, with an optional `@revision`. */
export function isHubId(path: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$/.test(path);
}

/** One absolute path with forward slashes where the platform takes them in globs. */
function resolvePath(written: string, base: string, variables: PathVariables, environment: PathEnvironment): string {
  const expanded = written.replace(VARIABLE, (text, name: string) =>
    Object.hasOwn(variables, name) ? (variables[name] ?? text) : text,
  );
  const home = /^~(?=$|[\\/])/.test(expanded) ? `${environment.home}${expanded.slice(1)}` : expanded;
  return isAbsolute(home) ? resolve(home) : resolve(base, home);
}
