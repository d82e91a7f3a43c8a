// How an experiment's text stands, as the form is told it. Pure.
import type { FormProblem, FormState, Json } from '../../../webview/form/protocol';
import type { Problem } from '../../experiment';
import { ExperimentDocument, nestedTooDeep, valueOf } from '../../experiment/document';
import { parseExperiment } from '../../experiment/parse';

export interface TextState {
  readonly text: string;
  readonly version: number;
  /** Without its folder. */
  readonly file: string;
  readonly problems: readonly Problem[];
  /** What the last text that could be read said. */
  readonly before: Json;
}

export function formState({ text, version, file, problems, before }: TextState): FormState {
  const written = writtenIn(text);
  const broken = written === null ? brokenAt(text, file) : null;
  return { version, file, written: written ?? before, broken, problems: problems.map(formProblem) };
}

/** Values of a text without syntax errors that is an object; null otherwise. */
function writtenIn(text: string): Json | null {
  if (nestedTooDeep(text) !== undefined) return null;
  const document = new ExperimentDocument(text, '');
  if (document.root?.type !== 'object' || document.syntaxErrors.length > 0) return null;
  return valueOf(document.root) as Json;
}

/** The first error, as the file's own check words it. */
function brokenAt(text: string, file: string): FormState['broken'] {
  const first = parseExperiment(text, file).problems.find(({ severity }) => severity === 'error');
  return { message: first?.message ?? '', line: first?.line ?? 1, column: first?.column ?? 1 };
}

function formProblem({ path, severity, message, hint, line, column, fixes = [] }: Problem): FormProblem {
  return { path, severity, message, hint: hint ?? null, line, column, fixes: fixes.map(({ title }) => title) };
}
