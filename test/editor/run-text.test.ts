import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  contextWords,
  endSentence,
  runDescription,
  runFacts,
  runLabel,
  runTitle,
} from '../../src/editor/explorer/run-text';
import { statusBarText } from '../../src/editor/status-bar-text';
import { RESULT_SCHEMA, type RunResult } from '../../src/runs';
import { listedRun } from './runs';

const result: RunResult = {
  schema: RESULT_SCHEMA,
  perplexity: { float: 10, roundToNearest: 20, trained: 12, merged: 12 },
  bitsPerWeight: 2.1,
  modelBytes: 1e6,
  gapClosed: 0.8,
  peakMemoryBytes: 1e7,
  residentMemoryBytes: 2e7,
  tokensPerSecond: 1e4,
  seconds: 60,
};

test('labels say when, or what the user called it', () => {
  const run = listedRun('20250131-140203-w2');
  const at = (year: number, month: number, day: number): string =>
    runLabel(run, new Date(year, month - 1, day, 15).getTime());
  assert.equal(at(2025, 1, 31), '14:02:03');
  assert.equal(at(2026, 1, 31), '2025-01-31 14:02');
  assert.match(at(2025, 3, 1), /31.* 14:02$/);
  assert.equal(runLabel({ ...run, notes: { name: 'Baseline' } }), 'Baseline');
  assert.equal(runTitle(run), 'a');
  assert.equal(runLabel(listedRun('renamed-by-hand')), 'renamed-by-hand');
});

test('descriptions of states', () => {
  const running = listedRun('r', { state: 'running', status: { loss: 2.5, etaSeconds: 90, step: 25 } });
  assert.equal(runDescription(running), '25% · loss 2.500 · 1 min 30 s left');
  const evaluating = listedRun('r', {
    state: 'running',
    status: {
      loss: 2.5,
      phase: 'evaluating: trained',
      progress: { done: 1, total: 4 },
      best: { step: 9, perplexity: 14 },
    },
  });
  assert.equal(runDescription(evaluating), '50% · evaluating: trained 25% · loss 2.500 · ppl 14.000');
  const loading = listedRun('r', { state: 'starting', status: { phase: 'loading the model', step: 0 } });
  assert.equal(runDescription(loading), 'loading the model');
  assert.equal(runDescription(listedRun('r', { state: 'paused' })), 'paused · 50%');
  assert.equal(runDescription(listedRun('r', { result, notes: { tags: ['x'] } })), 'ppl 12.000 · 80% of the gap · #x');
  const rounded = { ...result, perplexity: { ...result.perplexity, trained: null, merged: 20 }, gapClosed: null };
  assert.equal(runDescription(listedRun('r', { result: rounded })), 'ppl 20.000', 'rounding alone has one as well');
  assert.match(endSentence(listedRun('r', { result: rounded })), /perplexity 20\.000 \(/);
  const failed = listedRun('r', { state: 'failed', status: { error: { code: 'OutOfMemory', message: 'no memory' } } });
  assert.equal(runDescription(failed), 'no memory');
  assert.equal(
    runDescription({ kind: 'broken', name: 'b', directory: '/b', reason: 'damaged' }),
    'unreadable: damaged',
  );
});

test('a run without steps to do is at zero percent, not at infinity', () => {
  assert.match(runDescription(listedRun('r', { state: 'running', status: { totalSteps: 0, step: 0 } })), /^0%/);
});

test('what can be done with a run', () => {
  const words = (state: Parameters<typeof listedRun>[1]): string[] => contextWords(listedRun('r', state)).split(' ');
  const running = words({ state: 'running' });
  assert.ok(running.includes('pausable') && running.includes('stoppable') && !running.includes('ended'));
  const paused = words({ state: 'paused' });
  assert.ok(paused.includes('resumable') && paused.includes('stoppable') && !paused.includes('pausable'));
  for (const state of ['stopped', 'failed', 'crashed'] as const) {
    assert.ok(words({ state }).includes('resumable') && words({ state }).includes('ended'), state);
  }
  const finished = words({ state: 'finished', notes: { star: true } });
  assert.ok(finished.includes('ended') && !finished.includes('resumable') && finished.includes('starred'));
});

test('the tooltip has the four perplexities of a finished run', () => {
  const facts = new Map(runFacts(listedRun('r', { result }), 10_000));
  assert.equal(facts.get('Perplexity'), '**12.000**');
  assert.equal(facts.get('… round-to-nearest'), '20.000');
  assert.equal(facts.get('Gap closed'), '80.0 %');
  assert.equal(facts.get('Step'), '50 / 100 (50%)');
});

test('sentences of ends', () => {
  assert.equal(
    endSentence(listedRun('r', { result })),
    'a has finished: perplexity 12.000 (rounded to nearest 20.000, float 10.000).',
  );
  assert.match(
    endSentence(listedRun('r', { state: 'crashed', status: { lastCheckpoint: 40 } })),
    /checkpoint of step 40/,
  );
  assert.match(endSentence(listedRun('r', { state: 'failed' })), /no reason was given/);
});

test('the status bar shows what trains and counts the rest', () => {
  const running = listedRun('r', { state: 'running', status: { created: 1, etaSeconds: 61 } });
  const paused = listedRun('p', { state: 'paused', status: { created: 2 } });
  assert.equal(statusBarText([]), null);
  assert.equal(statusBarText([running])?.text, '$(loading~spin) a 50% · 1 min 1 s');
  const both = statusBarText([paused, running]);
  assert.ok(both !== null);
  assert.equal(both.run.name, 'r');
  assert.match(both.text, /\+1$/);
  assert.equal(statusBarText([paused])?.text, '$(debug-pause) a 50% · paused');
});
