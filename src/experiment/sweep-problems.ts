// What is wrong with a sweep as it is written, and how problems of its combinations are told as problems of one file.

import { modify } from 'jsonc-parser';

import { listed, quoted } from './allowed';
import type { ExperimentDocument } from './document';
import { pathText, type Fix, type KeyPath, type Problem } from './problem';
import { combinationCount, MAX_SWEEP_RUNS, type SweepAxis } from './sweep';
import { namesakes, nearestSweepable, sweepable } from './sweep-keys';

const EXAMPLE = '"sweep": { "quantization.weights.bits": [2, 3, 4], "quantization.lowRank.rank": [8, 32] }';

export interface SweepFindings {
  /** Those without a problem. */
  readonly axes: readonly SweepAxis[];
  readonly problems: readonly Problem[];
}

/** Reads the value of "sweep"; whether the listed values are right for their keys is another question. */
export function readSweep(document: ExperimentDocument, written: unknown): SweepFindings {
  if (typeof written !== 'object' || written === null || Array.isArray(written)) {
    const message = `sweep: ${quoted(written)} is no object of key paths with lists of values`;
    return { axes: [], problems: [problemAt(document, ['sweep'], message, { hint: `for example ${EXAMPLE}` })] };
  }
  const axes: SweepAxis[] = [];
  const problems: Problem[] = [];
  for (const [key, values] of Object.entries(written)) {
    const found = sweepable.has(key) ? valueProblems(document, key, values) : [unknownKey(document, key)];
    problems.push(...found);
    if (found.length === 0) axes.push({ key, path: key.split('.'), values: values as unknown[] });
  }
  if (axes.length === 0 && problems.length === 0) {
    const hint = `for example ${EXAMPLE}`;
    problems.push(problemAt(document, ['sweep'], 'sweep: no key is named', { severity: 'warning', hint }));
  }
  const count = combinationCount(axes);
  if (count > MAX_SWEEP_RUNS) {
    const product = axes.map(({ values }) => String(values.length)).join(' × ');
    const message = `sweep: ${product} = ${String(count)} runs, and ${String(MAX_SWEEP_RUNS)} are allowed; list fewer values, or split the file`;
    return { axes: [], problems: [...problems, problemAt(document, ['sweep'], message, { value: count })] };
  }
  return { axes, problems };
}

function valueProblems(document: ExperimentDocument, key: string, values: unknown): Problem[] {
  const path = ['sweep', key];
  if (!Array.isArray(values)) {
    const message = `${pathText(path)}: ${quoted(values)} is no list of values`;
    const fixes = [{ title: `Change to [${quoted(values)}]`, edits: document.setValue(path, [values]) }];
    return [problemAt(document, path, message, { value: values, fixes })];
  }
  if (values.length === 0)
    return [problemAt(document, path, `${pathText(path)}: the list is empty; name at least one`)];
  const first = new Map<string, number>();
  return values.flatMap((value: unknown, index): Problem[] => {
    const text = canonical(value);
    if (!first.has(text)) {
      first.set(text, index);
      return [];
    }
    const message = `${pathText(path)}: ${quoted(value)} is listed twice, which would make the same runs twice; list it once`;
    const edits = modify(document.text, [...path, index], undefined, {}).map(({ offset, length, content }) => ({
      offset,
      length,
      text: content,
    }));
    const fixes = [{ title: `Remove the second ${quoted(value)}`, edits }];
    return [problemAt(document, [...path, index], message, { value, fixes })];
  });
}

/** Equal texts for equal values: keys in one order, numbers as JavaScript writes them. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1)))
      : part,
  );
}

function unknownKey(document: ExperimentDocument, key: string): Problem {
  const name = document.property(['sweep', key])?.children?.[0];
  const meant = nearestSweepable(key);
  const others = meant === undefined ? namesakes(key) : [];
  const inside = [...sweepable.keys()].filter((path) => path.startsWith(`${key}.`));
  const advice =
    key === 'name'
      ? 'the runs of a sweep are named by their values'
      : inside.length > 0
        ? `it is a section; sweep ${listed(inside)}`
        : meant !== undefined
          ? `did you mean ${JSON.stringify(meant)}?`
          : others.length > 0
            ? `did you mean ${listed(others.map((other) => JSON.stringify(other)))}?`
            : 'write the whole path of a key of the experiment, with dots';
  const fixable = meant !== undefined && inside.length === 0 && name !== undefined && key !== 'name';
  const fixes: Fix[] = fixable
    ? [
        {
          title: `Change to "${meant}"`,
          edits: [{ offset: name.offset, length: name.length, text: JSON.stringify(meant) }],
        },
      ]
    : [];
  const place = name ? document.range(name.offset, name.length) : document.anchor(['sweep']);
  const message = `sweep: ${quoted(key)} cannot be swept; ${advice}`;
  return { ...problemAt(document, ['sweep', key], message, { value: key, fixes }), ...place };
}

function problemAt(
  document: ExperimentDocument,
  path: KeyPath,
  message: string,
  more: Partial<Pick<Problem, 'hint' | 'value' | 'fixes' | 'severity'>> = {},
): Problem {
  const { fixes = [], ...rest } = more;
  return {
    file: document.file,
    path: pathText(path),
    ...document.anchor(path),
    severity: 'error',
    message,
    ...rest,
    ...(fixes.length > 0 ? { fixes } : {}),
  };
}

/** Problems of combinations, each told once: the same one at the same place for several of them is one problem, which names
 *  them unless it is every one's. */
export function mergeProblems(
  found: readonly { readonly name: string; readonly problems: readonly Problem[] }[],
): Problem[] {
  const merged = new Map<string, { readonly problem: Problem; readonly names: string[] }>();
  for (const { name, problems } of found) {
    for (const problem of problems) {
      const key = JSON.stringify([problem.line, problem.column, problem.severity, problem.message]);
      const known = merged.get(key);
      if (known === undefined) merged.set(key, { problem, names: [name] });
      else if (!known.names.includes(name)) known.names.push(name);
    }
  }
  return [...merged.values()].map(({ problem, names }) =>
    names.length === found.length ? problem : { ...problem, message: `${problem.message} (in ${someNames(names)})` },
  );
}

function someNames(names: readonly string[]): string {
  const shown = names.slice(0, 3);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${String(more)} more` : listed(shown, 'and');
}
