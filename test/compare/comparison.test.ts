import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  compareRuns,
  comparisonCsv,
  comparisonJson,
  comparisonLatex,
  comparisonMarkdown,
  configRows,
  latexText,
  settingsOf,
  type Json,
} from '../../src/compare';
import type { EvalEvent } from '../../src/runs';
import { result, run } from './runs';

const differences = (...documents: Json[]) => configRows(documents.map(settingsOf)).different;

test('only keys that differ are shown, whole lists and unions, missing keys as such', () => {
  const base = { name: 'a', training: { steps: 1, seed: 7 }, data: { train: ['x'] }, quantization: {} };
  assert.deepEqual(
    differences(
      { ...base, quantization: { weights: { granularity: 'per-channel', bits: 2 } } },
      {
        ...base,
        name: 'b',
        data: { train: ['x', 'y'] },
        training: { seed: 7 },
        quantization: { weights: { bits: 2, granularity: { group: 128 } } },
      },
    ),
    [
      { key: 'training.steps', values: [1, undefined] },
      { key: 'data.train', values: [['x'], ['x', 'y']] },
      { key: 'quantization.weights.granularity', values: ['per-channel', { group: 128 }] },
    ],
  );
  assert.deepEqual(differences({ a: { b: 1, c: 2 } }, { a: { c: 2, b: 1 } }), [], 'order of keys is no matter');
});

test('deltas are against the first run; unknown stays unknown', () => {
  const comparison = compareRuns([
    run('one', {}, { result: result(15) }),
    run('two', {}, { result: result(14) }),
    run('three', {}, { state: 'running' }),
  ]);
  const trained = comparison.metrics.find((row) => row.key === 'perplexity.trained');
  assert.ok(trained !== undefined);
  assert.deepEqual(trained.values, [15, 14, null]);
  assert.deepEqual(trained.deltas, [null, -1, null]);
  const gap = comparison.metrics.find((row) => row.key === 'gapClosed');
  assert.deepEqual(gap?.values, [0.5, 0.6, null]);
});

test('a run under way is compared by its last evaluation of the first kind', () => {
  const evaluation = (step: number, kind: string, perplexity: number): EvalEvent => ({
    type: 'eval',
    step,
    kind,
    form: 'trained',
    perplexity,
    loss: 1,
    tokens: 1,
    time: 0,
  });
  const evaluations = [evaluation(0, 'validation', 20), evaluation(5, 'validation', 17), evaluation(5, 'wikitext', 99)];
  const comparison = compareRuns([run('one', {}, { events: evaluations })]);
  assert.deepEqual(comparison.metrics.find((row) => row.key === 'perplexity.trained')?.values, [17]);
});

test('csv is quoted, and no cell becomes a formula', () => {
  const comparison = compareRuns([
    run('a,"b"', { x: '=1+1', y: -1 }, { result: result(15) }),
    run('c', { x: 'line\nbreak', y: 2 }, { result: result(12.5) }),
  ]);
  const [header = '', first = '', second = ''] = comparisonCsv(comparison).split('\r\n');
  assert.ok(header.startsWith('run,state,perplexity.float,'));
  assert.ok(header.endsWith(',x,y'));
  assert.ok(first.startsWith('"a,""b""",finished,10,20,15,'));
  assert.ok(first.endsWith(",'=1+1,-1"), first);
  assert.ok(second.endsWith(',"line\nbreak",2'), second);
});

test('markdown shows both tables with units; json keeps full precision', () => {
  const comparison = compareRuns([
    run('one', { bits: 2, text: 'a|b' }, { result: result(15) }),
    run('two', { bits: 4, text: 'c' }, { result: result(12.345678) }),
  ]);
  const markdown = comparisonMarkdown(comparison);
  assert.match(markdown, /^\| trained perplexity \| 15\.000 \| \*\*12\.346 \(−2\.654\)\*\* \|$/m);
  assert.match(markdown, /^\| model size \| 3\.00 MiB \| 3\.00 MiB \|$/m);
  assert.match(markdown, /^\| gap closed \| 50\.0 % \| \*\*76\.5 % \(\+26\.5 points\)\*\* \|$/m);
  assert.match(markdown, /^\| text \| a\\\|b \| c \|$/m);
  const parsed = JSON.parse(comparisonJson(comparison)) as { metrics: { key: string; values: number[] }[] };
  assert.equal(parsed.metrics.find((row) => row.key === 'perplexity.trained')?.values[1], 12.345678);
});

test('LaTeX: the best is bold, nothing in a name or a value means anything to TeX', () => {
  const nasty = 'a_b & 50% $x$ #1 {y} ~ ^ \\z';
  const comparison = compareRuns([
    run('one', { bits: 2, text: nasty }, { result: result(15), notes: { name: nasty } }),
    run('two', { bits: 4, text: '<b> "q" | c' }, { result: result(12.345678) }),
  ]);
  const latex = comparisonLatex(comparison);
  assert.match(latex, /^ {4}trained perplexity & 15\.000 & \\textbf\{12\.346\} \(\$-\$2\.654\) \\\\$/m);
  assert.match(
    latex,
    /^ {4}\\texttt\{text\} & a\\_b \\& 50\\% \\\$x\\\$ \\#1 \\\{y\\\} \\textasciitilde\{\} \\textasciicircum\{\} \\textbackslash\{\}z & /m,
  );
  assert.match(latex, /\\begin\{tabular\}\{lrr\}/);
  // Every row has as many columns as the first line says: an unescaped & would be one more.
  const columns = (line: string): number => line.split(/(?<!\\)&/).length;
  for (const line of latex.split('\n').filter((each) => each.endsWith('\\\\'))) assert.equal(columns(line), 3, line);
  let depth = 0;
  for (const [, brace] of latex.matchAll(/(?<!\\)([{}])/g)) {
    depth += brace === '{' ? 1 : -1;
    assert.ok(depth >= 0);
  }
  assert.equal(depth, 0, 'braces are balanced');
  assert.equal(latexText('100 %'), '100 \\%');
});

test('the best of every metric is marked by its direction; ties all; equal and lonely values not', () => {
  const comparison = compareRuns([
    run('a', {}, { result: result(15) }),
    run('b', {}, { result: { ...result(12), bitsPerWeight: 3, tokensPerSecond: 12_345 } }),
    run('c', {}, { result: { ...result(12), modelBytes: NaN, tokensPerSecond: 20_000 } }),
  ]);
  const best = (key: string) => comparison.metrics.find((row) => row.key === key)?.best;
  assert.deepEqual(best('perplexity.trained'), [false, true, true]);
  assert.deepEqual(best('bitsPerWeight'), [true, false, true]);
  assert.deepEqual(best('tokensPerSecond'), [false, false, true], 'higher is better');
  assert.deepEqual(best('perplexity.float'), [false, false, false], 'no merit of the run');
  assert.deepEqual(best('modelBytes'), [false, false, false], 'all known ones are the same');
  assert.deepEqual(best('step'), [false, false, false]);
});

test('deltas are against the chosen baseline; identical settings on request; a search narrows both tables', () => {
  const runs = [
    run('one', { bits: 2, seed: 7 }, { result: result(15) }),
    run('two', { bits: 4, seed: 7 }, { result: result(12) }),
  ];
  const comparison = compareRuns(runs, { baseline: 1, identical: true });
  assert.deepEqual(comparison.metrics.find((row) => row.key === 'perplexity.trained')?.deltas, [3, null]);
  assert.deepEqual(comparison.identical, [{ key: 'seed', values: [7, 7] }]);
  assert.match(comparisonMarkdown(comparison), /\| {2}\| all runs \|\n\| --- \| ---: \|\n\| seed \| 7 \|/);
  assert.deepEqual(compareRuns(runs).identical, []);
  const narrowed = compareRuns(runs, { identical: true, fields: ({ key }) => key === 'bits' });
  assert.deepEqual([narrowed.metrics.length, narrowed.configuration.length, narrowed.identical.length], [0, 1, 0]);
});

test('turned tables have a row a run', () => {
  const comparison = compareRuns([
    run('one', { bits: 2 }, { result: result(15) }),
    run('two', { bits: 4 }, { result: result(12) }),
  ]);
  assert.match(comparisonMarkdown(comparison, true), /^\| run \| state \| float perplexity \|/m);
  assert.match(comparisonMarkdown(comparison, true), /^\| two \| 4 \|$/m);
  assert.match(comparisonLatex(comparison, true), /^ {4}run & \\texttt\{bits\} \\\\$/m);
});

test('runs of the same name are told apart by their folders', () => {
  const comparison = compareRuns([
    run('x-1', {}, { notes: { name: 'mine' } }),
    run('x-2', {}, { notes: { name: 'mine' } }),
    run('x-3', {}),
  ]);
  assert.deepEqual(
    comparison.runs.map(({ title }) => title),
    ['mine (x-1)', 'mine (x-2)', 'x-3'],
  );
});
