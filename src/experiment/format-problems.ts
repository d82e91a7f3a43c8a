// Problems as a terminal shows them.

import { printable } from '../formats/show-value';
import type { Problem } from './problem';

const TAB = '    ';
/** Columns of a source line that are shown. */
const EXCERPT = 160;

/**
 * One block a problem: `file:line:column: severity: message`, the line of the source with carets under the place, the hint.
 * `sources`: text by file name; without it the excerpt is left out.
 */
export function formatProblems(problems: readonly Problem[], sources: Readonly<Record<string, string>> = {}): string {
  const lines = new Map(
    Object.entries(sources).map(([file, text]) => [file, text.replace(/^\uFEFF/, ' ').split(/\r\n|\r|\n/)]),
  );
  return problems.map((problem) => formatProblem(problem, lines.get(problem.file)?.[problem.line - 1])).join('\n');
}

function formatProblem(problem: Problem, source: string | undefined): string {
  const { file, line, column, severity, message, hint } = problem;
  const lines = [`${file}:${String(line)}:${String(column)}: ${severity}: ${printable(message)}`];
  if (source !== undefined && source.trim() !== '') {
    const number = String(line);
    const end = problem.endLine === line ? problem.endColumn - 1 : source.length;
    // Of a long line, what lies around the place.
    const from = source.length <= EXCERPT ? 0 : Math.max(0, column - 1 - EXCERPT / 2);
    const to = Math.min(source.length, from + EXCERPT);
    const shown = (first: number, last: number): string => printable(source.slice(first, last)).replaceAll('\t', TAB);
    const [cutBefore, cutAfter] = [from > 0 ? '…' : '', to < source.length ? '…' : ''];
    const before = cutBefore + shown(from, column - 1);
    const marked = shown(column - 1, Math.min(end, to));
    lines.push(
      `  ${number} | ${cutBefore}${shown(from, to)}${cutAfter}`,
      `  ${' '.repeat(number.length)} | ${' '.repeat(before.length)}${'^'.repeat(Math.max(1, marked.length))}`,
    );
  }
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  return `${lines.join('\n')}\n`;
}

/** `2 errors, 1 warning`. */
export function countProblems(problems: readonly Problem[]): string {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  const counted = (count: number, noun: string): string[] =>
    count > 0 ? [`${String(count)} ${noun}${count === 1 ? '' : 's'}`] : [];
  return [...counted(errors, 'error'), ...counted(warnings, 'warning')].join(', ') || 'no problems';
}
