// Problems as a terminal shows them.

import type { Problem } from './problem';

const TAB = '    ';

/**
 * One block a problem: `file:line:column: severity: message`, the line of the source with carets under the place, the hint.
 * `sources`: text by file name; without it the excerpt is left out.
 */
export function formatProblems(problems: readonly Problem[], sources: Readonly<Record<string, string>> = {}): string {
  return problems.map((problem) => formatProblem(problem, sources[problem.file])).join('\n');
}

function formatProblem(problem: Problem, text: string | undefined): string {
  const { file, line, column, severity, message, hint } = problem;
  const lines = [`${file}:${String(line)}:${String(column)}: ${severity}: ${message}`];
  const source = text?.replace(/^\uFEFF/, ' ').split(/\r\n|\r|\n/)[line - 1];
  if (source !== undefined && source.trim() !== '') {
    const number = String(line);
    const before = source.slice(0, column - 1).replaceAll('\t', TAB);
    const end = problem.endLine === line ? problem.endColumn - 1 : source.length;
    const marked = source.slice(column - 1, end).replaceAll('\t', TAB);
    lines.push(
      `  ${number} | ${source.replaceAll('\t', TAB)}`,
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
