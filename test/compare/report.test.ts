import assert from 'node:assert/strict';
import { test } from 'node:test';
import { comparisonReport, curveOf, thinnedPoints, type ReportRun } from '../../src/compare';
import type { MetricsEvent } from '../../src/runs';
import { result, run } from './runs';

const NASTY = `</style></script><script>alert('1')</script> & "x" <b>`;
const float = { bitsPerWeight: 16, modelBytes: 2e7 };

const steps = (count: number, loss: (step: number) => number | null): MetricsEvent[] =>
  Array.from({ length: count }, (_, at) => ({
    type: 'step',
    step: at + 1,
    loss: loss(at + 1),
    learningRate: { lowRank: 0, scales: 0 },
    gradientNorm: 0,
    tokens: 1,
    tokensPerSecond: 1,
    memory: { engine: 0, resident: 0 },
    time: 0,
  }));

const runs: ReportRun[] = [
  {
    ...run('one', { bits: 2, path: NASTY, seed: 1 }, { result: result(15, { float }), notes: { name: NASTY } }),
    curve: curveOf(steps(2000, (step) => (step === 777 ? 99 : 5 / step))),
  },
  {
    ...run('two', { bits: 4, path: 'b', seed: 1 }, { result: result(12, { float, bitsPerWeight: 4.1 }) }),
    curve: curveOf(steps(10, (step) => (step === 3 ? null : 4))),
  },
  { ...run('three', { bits: 4, path: 'b', seed: 1 }, { state: 'failed' }), curve: { steps: [], losses: [] } },
];
const report = comparisonReport(runs, { title: NASTY, time: Date.UTC(2026, 0, 5), version: '1.2.3', identical: true });

/** Checks that tags are closed in their order; enough of a parser for what the report writes. */
function assertWellFormed(html: string): void {
  const open: string[] = [];
  const empty = new Set(['meta', 'link', 'br', 'img']);
  const body = html.replace(/<style>[\s\S]*?<\/style>/, '<style></style>');
  for (const [tag, closing = '', name = '', rest = ''] of body.matchAll(
    /<(\/?)([a-zA-Z][\w-]*)((?:[^<>"]|"[^"<>]*")*)>/g,
  )) {
    if (closing === '/') assert.equal(open.pop(), name, tag);
    else if (!rest.endsWith('/') && !empty.has(name)) open.push(name);
  }
  assert.deepEqual(open, []);
  const bare = body.replace(/<!doctype html>/, '').replaceAll(/<\/?[a-zA-Z](?:[^<>"]|"[^"<>]*")*>/g, '');
  assert.doesNotMatch(bare, /[<>]/, 'no bracket outside of tags');
  assert.doesNotMatch(bare, /&(?!amp;|lt;|gt;|quot;|#39;)/, 'no bare ampersand');
}

test('a report is one well-formed file', () => {
  assertWellFormed(report);
  assert.match(report, /^<!doctype html>\n<html lang="en">/);
});

test('nothing comes from outside, nothing runs, and texts stay texts', () => {
  assert.doesNotMatch(report, /<script|<link|<img|<iframe|@import|url\(|href=|src=| on\w+="/);
  assert.match(report, /default-src 'none'; style-src 'unsafe-inline'/);
  assert.ok(
    report.includes('&lt;/style&gt;&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;'),
  );
  assert.equal(report.match(/<\/style>/g)?.length, 1);
});

test('it has the tables, the pictures with a front, and the curves with their spikes', () => {
  for (const title of [
    'Metrics',
    'Configuration (what differs)',
    'Configuration (the same in all runs)',
    'Training loss',
  ]) {
    assert.ok(report.includes(`<h2>${title}</h2>`), title);
  }
  for (const cost of ['bits per weight', 'model size', 'peak memory of training']) {
    assert.ok(report.includes(`<h2>Perplexity against ${cost}</h2>`), cost);
  }
  assert.match(report, /<td><strong>12\.000<\/strong> <small>−3\.000<\/small><\/td>/);
  assert.match(report, /<th scope="row"><code>bits<\/code><\/th><td>2<\/td><td>4<\/td><td>4<\/td>/);
  assert.equal(report.match(/<path class="curve c\d d\d" d="M[\d.]+ [\d.]+L/g)?.length, 2, 'two runs have a curve');
  assert.match(report, /On the front: .*two \(4\.10, 12\.000\), float \(16\.00, 10\.000\)/);
  assert.doesNotMatch(report, /NaN|undefined|Infinity/);
});

test('thinning keeps the order, the ends of the range and every spike, and leaves out what is not finite', () => {
  const losses = Array.from({ length: 10_000 }, (_, at) => (at === 5_432 ? 50 : at === 77 ? NaN : Math.sin(at) / 10));
  const points = thinnedPoints({ steps: losses.map((_, at) => at), losses }, 100);
  assert.ok(points.length <= 200 && points.length > 100, String(points.length));
  assert.ok(points.some(({ step, loss }) => step === 5_432 && loss === 50));
  assert.ok(points.every(({ step }, at) => at === 0 || step > points[at - 1]!.step));
  assert.deepEqual(thinnedPoints({ steps: [1, 2, 3], losses: [1, NaN, 3] }, 100), [
    { step: 1, loss: 1 },
    { step: 3, loss: 3 },
  ]);
});
