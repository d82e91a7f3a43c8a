import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  compareRuns,
  comparisonCsv,
  comparisonJson,
  comparisonLatex,
  comparisonMarkdown,
  configRows,
  factsOf,
  latexText,
  settingsOf,
  type ComparedRun,
  type Json,
  type RunFacts,
} from '../../src/compare';
import { RESULT_SCHEMA, type EvalEvent, type RunResult } from '../../src/runs';
import { newStatus } from '../../src/runs/status-file';

const result = (trained: number): RunResult => ({
  schema: RESULT_SCHEMA,
  perplexity: { float: 10, roundToNearest: 20, trained, merged: trained },
  bitsPerWeight: 2.25,
  modelBytes: 3 * 1024 * 1024,
  gapClosed: (20 - trained) / 10,
  peakMemoryBytes: 1e7,
  residentMemoryBytes: 2e7,
  tokensPerSecond: 12_345,
  seconds: 75,
});

function run(name: string, experiment: Json, of: Partial<ComparedRun> = {}): RunFacts {
  const status = newStatus('finished', 10, 0);
  return factsOf({ name, state: 'finished', status, experiment, result: null, evaluations: [], ...of });
}

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
  const comparison = compareRuns([run('one', {}, { evaluations })]);
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
