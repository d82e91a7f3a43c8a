// Every kind of mistake in an experiment file and what is said about it, as text: broken/NAME.lrqat.json → broken/NAME.txt.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';

import { countProblems, formatProblems, parseExperiment, type Fix, type Problem } from '../../src/experiment';
import { applyTextEdits } from '../../src/experiment/document';
import { assertGolden } from './golden';

const folder = 'test/experiment/broken';

function apply(text: string, fix: Fix): string {
  return applyTextEdits(text, fix.edits);
}

function describe(file: string, text: string, problems: readonly Problem[]): string {
  const fixes = problems.flatMap(({ line, fixes = [] }) => fixes.map(({ title }) => `line ${String(line)}: ${title}`));
  return [
    formatProblems(problems, { [file]: text }),
    fixes.length > 0 ? `fixes\n${fixes.map((fix) => `  ${fix}`).join('\n')}\n` : '',
    `${countProblems(problems)}\n`,
  ]
    .filter((part) => part !== '')
    .join('\n');
}

const files = readdirSync(folder)
  .filter((name) => name.endsWith('.lrqat.json'))
  .sort();
assert.ok(files.length >= 40);

for (const file of files) {
  const text = readFileSync(join(folder, file), 'utf8');

  test(`what is said about ${file}`, () => {
    const { problems, experiment } = parseExperiment(text, file);
    assert.equal(
      experiment === undefined,
      problems.some(({ severity }) => severity === 'error'),
    );
    assertGolden(join(folder, file.replace('.lrqat.json', '.txt')), describe(file, text, problems));
  });

  test(`every fix offered for ${file} removes its problem and adds no error`, () => {
    const { problems } = parseExperiment(text, file);
    const errors = (list: readonly Problem[]): string[] =>
      list.filter(({ severity }) => severity === 'error').map(({ message }) => message);
    for (const problem of problems) {
      for (const fix of problem.fixes ?? []) {
        const after = parseExperiment(apply(text, fix), file).problems;
        assert.ok(!after.some(({ message }) => message === problem.message), `${fix.title}: ${problem.message}`);
        // A repaired syntax error lets later checks see more, so only structure is compared there.
        if (problem.path !== '') {
          assert.ok(errors(after).length <= errors(problems).length, `${fix.title}: ${errors(after).join('; ')}`);
        }
      }
    }
  });
}
