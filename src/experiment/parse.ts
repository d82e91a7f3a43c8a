// From the text of an experiment file to the resolved experiment, with all problems at once.

import { withDefaults } from './defaults';
import { ExperimentDocument, MAX_DEPTH, nestedTooDeep, valueOf } from './document';
import { pathText, type Fix, type Problem } from './problem';
import { rules, type Finding } from './rules';
import type { Experiment } from './schema';
import { schemaProblems } from './schema-problems';
import { duplicateKeys, syntaxProblems } from './syntax-problems';

export interface ParsedExperiment {
  /** Present when there is no error (warnings may be there). */
  readonly experiment?: Experiment;
  /** In the order of the file. */
  readonly problems: Problem[];
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
  const filled = withDefaults(written);
  const duplicates = duplicateKeys(document);
  // After a syntax error keys may be missing only because the tree ends early.
  const found = schemaProblems(document, filled);
  const structural = found.problems.filter(({ message }) => syntax.length === 0 || !message.includes(' is missing;'));
  const wrong = [...syntax, ...duplicates, ...structural];
  const experiment = filled as Experiment;
  const problems = inFileOrder([
    ...wrong,
    ...(syntax.length === 0 ? ruleProblems(document, experiment, found.broken) : []),
  ]);
  if (problems.some(({ severity }) => severity === 'error')) return { problems };
  return { experiment: { ...experiment, name: experiment.name || nameOf(file) }, problems };
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
  const touches = (key: string): boolean =>
    broken.some((path) => path === key || startsInside(path, key) || startsInside(key, path));
  return rules
    .filter(({ reads }) => !reads.some(touches))
    .flatMap((rule) => [...rule.check(experiment)])
    .filter(({ onlyWhenWritten, path }) => onlyWhenWritten !== true || document.node(path) !== undefined)
    .map((finding) => locate(document, finding));
}

function startsInside(path: string, section: string): boolean {
  return path.startsWith(`${section}.`) || path.startsWith(`${section}[`);
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
