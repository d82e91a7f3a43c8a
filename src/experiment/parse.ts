// From the text of an experiment file to the resolved experiment, with all problems at once.

import { withDefaults } from './defaults';
import { ExperimentDocument, MAX_DEPTH, nestedTooDeep, valueOf } from './document';
import { pathText, type Fix, type Problem } from './problem';
import type { Finding } from './rule';
import { rules } from './rules';
import { ExperimentSchema, type Experiment } from './schema';
import { schemaProblems, type SchemaFindings, type WrongKey } from './schema-problems';
import { soundPart, touches, type SoundPart } from './sound-part';
import { combinations, withCombination, type Combination, type SweepAxis } from './sweep';
import { mergeProblems, readSweep } from './sweep-problems';
import { duplicateKeys, syntaxProblems } from './syntax-problems';

export interface ParsedExperiment {
  /** Present when there is no error (warnings may be there). Of a sweep its first run. */
  readonly experiment?: Experiment;
  /** Present beside `experiment` when the file stands for several runs: all of them, in order. */
  readonly sweep?: readonly SweepRun[];
  /** Present when keys or values are wrong and the rest can be checked further; never of a sweep. */
  readonly sound?: SoundPart;
  /** In the order of the file. */
  readonly problems: Problem[];
}

/** One run of a sweep: an experiment like any other. */
export interface SweepRun extends Combination {
  readonly experiment: Experiment;
}

/** Reads an experiment; never throws for what the text says. `file` is only named in problems and gives the default name. */
export function parseExperiment(text: string, file: string): ParsedExperiment {
  const nested = nestedTooDeep(text);
  if (nested !== undefined) return { problems: [tooDeep(new ExperimentDocument('', file), nested)] };
  const document = new ExperimentDocument(text, file);
  const syntax = syntaxProblems(document);
  if (document.root?.type !== 'object') {
    return { problems: document.root || text.trim() !== '' ? [...syntax, notAnObject(document)] : [empty(file)] };
  }
  const written = valueOf(document.root) as Record<string, unknown>;
  delete written['$schema']; // editors' way to name the schema; not part of the experiment
  const swept = 'sweep' in written;
  const sweep = swept ? readSweep(document, written['sweep']) : { axes: [], problems: [] };
  delete written['sweep'];
  const all = combinations(sweep.axes);
  const duplicates = duplicateKeys(document);
  const found = valueProblems(document, written, sweep.axes);
  // After a syntax error keys may be missing only because the tree ends early.
  const structural = found.problems.filter(({ message }) => syntax.length === 0 || !message.includes(' is missing;'));
  const runs = all.map((combination) => ({
    ...combination,
    experiment: withDefaults(withCombination(written, combination)) as Experiment,
  }));
  const ruled = runs.map(({ name, redirects, experiment }) => ({
    name,
    problems: syntax.length === 0 ? ruleProblems(document.redirected(redirects), experiment, found.broken) : [],
  }));
  const problems = inFileOrder([...syntax, ...duplicates, ...sweep.problems, ...structural, ...mergeProblems(ruled)]);
  const [first] = runs;
  if (first === undefined || problems.some(isError)) {
    const sound = swept || syntax.length > 0 ? undefined : soundPart(written, found.wrong);
    if (sound === undefined) return { problems };
    const broken = [...sound.broken, ...ruled.flatMap((run) => run.problems.filter(isError).map(({ path }) => path))];
    return { sound: { ...sound, experiment: sound.experiment, broken }, problems };
  }
  if (sweep.axes.length === 0) {
    return { experiment: { ...first.experiment, name: first.experiment.name || nameOf(file) }, problems };
  }
  const named = runs.map((run) => ({ ...run, experiment: { ...run.experiment, name: nameInSweep(run) } }));
  return { experiment: named[0]?.experiment ?? first.experiment, sweep: named, problems };
}

const isError = ({ severity }: Problem): boolean => severity === 'error';

/** Characters of a name that the schema takes. */
const MAX_NAME = ExperimentSchema.properties.name.maxLength ?? 200;

/** What the file writes as its name comes first; the file's own name, which mostly tells of one of the values, does not. */
function nameInSweep({ name, experiment }: SweepRun): string {
  return experiment.name === '' ? name : `${experiment.name.slice(0, MAX_NAME - 1 - name.length)}-${name}`;
}

/** Keys and values against the schema: the file with the first value of every swept key, then each other value by itself. */
function valueProblems(
  document: ExperimentDocument,
  written: Record<string, unknown>,
  axes: readonly SweepAxis[],
): SchemaFindings {
  const first = axes.map(({ values }) => values.slice(0, 1));
  const variants = [
    first,
    ...axes.flatMap(({ values }, axis) => values.slice(1).map((value) => first.with(axis, [value]))),
  ];
  const problems = new Map<string, Problem>();
  const broken = new Set<string>();
  const wrong: WrongKey[] = [];
  for (const variant of variants) {
    // Places are those of the whole lists, whatever is tried of them.
    const redirects = axes.map(({ key, path, values }, axis) => ({
      from: path,
      to: ['sweep', key, values.indexOf(variant[axis]?.[0])],
    }));
    const values = Object.fromEntries(axes.map(({ key }, axis) => [key, variant[axis]?.[0]]));
    const found = schemaProblems(document.redirected(redirects), withDefaults(withCombination(written, { values })));
    for (const problem of found.problems) {
      problems.set(JSON.stringify([problem.line, problem.column, problem.message]), problem);
    }
    for (const path of found.broken) broken.add(path);
    wrong.push(...found.wrong);
  }
  return { problems: [...problems.values()], wrong, broken: [...broken] };
}

function tooDeep(document: ExperimentDocument, line: number): Problem {
  return {
    file: document.file,
    path: '',
    line,
    column: 1,
    endLine: line,
    endColumn: 1,
    severity: 'error',
    message: `objects and lists are nested more than ${String(MAX_DEPTH)} deep; an experiment needs 5 levels`,
  };
}

function empty(file: string): Problem {
  return {
    file,
    path: '',
    line: 1,
    column: 1,
    endLine: 1,
    endColumn: 1,
    severity: 'error',
    message: 'the experiment is empty; it needs at least "model" and "data"',
    hint: '{ "model": { "path": "model" }, "data": { "train": ["train.txt"], "validation": ["validation.txt"] } }',
  };
}

function notAnObject(document: ExperimentDocument): Problem {
  return {
    file: document.file,
    path: '',
    ...document.anchor([]),
    severity: 'error',
    message: 'an experiment is an object: it starts with { and ends with }',
  };
}

/** `runs/w2-rank32.lrqat.json` → `w2-rank32`. */
export function nameOf(file: string): string {
  const base = file.split(/[\\/]/).at(-1) ?? '';
  return base.replace(/(\.lrqat)?\.jsonc?$/i, '') || 'experiment';
}

function ruleProblems(document: ExperimentDocument, experiment: Experiment, broken: readonly string[]): Problem[] {
  return rules
    .filter(({ reads }) => !reads.some((key) => touches(broken, key)))
    .flatMap((rule) => [...rule.check(experiment)])
    .filter(({ onlyWhenWritten, path }) => onlyWhenWritten !== true || document.node(path) !== undefined)
    .map((finding) => locate(document, finding));
}

/** Gives a finding its place in the file and its replacements the form of fixes. */
export function locate(document: ExperimentDocument, finding: Finding): Problem {
  const fixes: Fix[] = [];
  // Without a text (validation of a stored experiment) there is nothing to mend.
  for (const replacement of document.root ? (finding.replacements ?? []) : []) {
    const verb = document.node(finding.path) ? 'Change' : `Set ${pathText(finding.path)}`;
    fixes.push({
      title: `${verb} to ${JSON.stringify(replacement)}`,
      edits: document.setValue(finding.path, replacement),
    });
  }
  return {
    file: document.file,
    path: pathText(finding.path),
    ...document.anchor(finding.path),
    severity: finding.severity ?? 'error',
    message: finding.message,
    ...(finding.hint === undefined ? {} : { hint: finding.hint }),
    ...('value' in finding ? { value: finding.value } : {}),
    ...(fixes.length > 0 ? { fixes } : {}),
  };
}

export function inFileOrder(problems: readonly Problem[]): Problem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}
