import assert from 'node:assert/strict';
import { test } from 'node:test';
import { terminalFor } from '../../src/cli/terminal';
import { evalLine, liveLine, stepLine } from '../../src/cli/progress-text';
import { shadeOf } from '../../src/cli/sensitivity-table';
import { renderTable } from '../../src/cli/table';
import { textWidth, truncate } from '../../src/cli/text-width';
import type { EvalEvent, MetricsEvent, StepEvent } from '../../src/runs';
import { newStatus } from '../../src/runs/status-file';

const step: StepEvent = {
  type: 'step',
  step: 63,
  loss: 3.41234,
  learningRate: { lowRank: 8e-4, scales: 8e-5 },
  gradientNorm: 1,
  tokens: 2048,
  tokensPerSecond: 12_345,
  memory: { engine: 312 * 1024 * 1024, resident: 1 },
  time: 0,
};
const status = { ...newStatus('running', 150, 0), step: 63, etaSeconds: 83 };
const bar = (share: number, size: number): string => '#'.repeat(Math.round(share * size)).padEnd(size, '.');

test('shades of the heat map are half orders of magnitude', () => {
  const losses = [1, 0.5, 0.2, 0.05, 0.02, 0.001, 0, -1, NaN];
  assert.deepEqual(
    losses.map((loss) => shadeOf(loss, 1)),
    [4, 4, 3, 2, 1, 0, 0, 0, 4],
  );
  assert.equal(shadeOf(0, 0), 0);
});

test('width counts columns, not code units or escape sequences', () => {
  assert.equal(textWidth('abc'), 3);
  assert.equal(textWidth('\u001b[31mabc\u001b[39m'), 3);
  assert.equal(textWidth('模型'), 4);
  assert.equal(textWidth('e\u0301'), 1);
  assert.equal(truncate('模型模型', 5), '模型…');
  assert.equal(truncate('short', 5), 'short');
  assert.equal(truncate('longer', 5), 'long…');
});

test('the live line says everything where there is room, and the most important where there is not', () => {
  const view = { state: 'running', status, lastStep: step } as const;
  assert.equal(
    liveLine(view, 120, bar),
    '##########..............  step 63/150  loss 3.4123  ETA 1 min 23 s  12.3 k tok/s  lr 8.0e-4/8.0e-5  312.0 MiB',
  );
  for (let width = 20; width <= 130; width++) assert.ok(textWidth(liveLine(view, width, bar)) <= width, String(width));
  assert.equal(liveLine(view, 30, bar), 'step 63/150  loss 3.4123');
  assert.equal(liveLine(view, 52, bar), '####......  step 63/150  loss 3.4123  ETA 1 min 23 s');
});

test('the live line names the phase, and a pause', () => {
  const loading = { ...status, step: 0, phase: 'loading the model', progress: { done: 7, total: 28 } };
  const line = liveLine({ state: 'starting', status: loading, lastStep: null }, 80, bar);
  assert.equal(line, '######..................  loading the model 7/28');
  assert.match(liveLine({ state: 'paused', status, lastStep: step }, 100, bar), /paused {2}step 63\/150/);
  // A step that is newer than the status has ended the phase that the status tells of.
  const measured = { ...status, step: step.step - 1, phase: 'evaluating: trained', progress: { done: 4, total: 4 } };
  assert.match(
    liveLine({ state: 'running', status: measured, lastStep: step }, 100, bar),
    /^[#.]+ {2}step 63\/150 {2}loss/,
  );
  const nothing = newStatus('starting', 0, 0);
  assert.match(liveLine({ state: 'starting', status: nothing, lastStep: null }, 80, bar), /starting$/);
});

test('an evaluation is set against what the run has measured before, of the same kind', () => {
  const evaluation = (form: EvalEvent['form'], perplexity: number, kind = 'validation'): EvalEvent => ({
    type: 'eval',
    step: 50,
    kind,
    form,
    perplexity,
    loss: 1,
    tokens: 1,
    time: 0,
  });
  const earlier: MetricsEvent[] = [
    evaluation('float', 10),
    evaluation('round-to-nearest', 20),
    evaluation('float', 99, 'wikitext'),
  ];
  assert.equal(
    evalLine(evaluation('trained', 12), earlier),
    'step 50  validation: trained perplexity 12.000  (gap closed 80.0 %, float 10.000, round-to-nearest 20.000)',
  );
  assert.equal(evalLine(evaluation('float', 10), earlier), 'step 50  validation: float perplexity 10.000');
});

test('a skipped step says so', () => {
  assert.match(stepLine({ ...step, loss: null, skipped: true }, status), /^step 63\/150 {2}skipped: /);
});

test('tables shrink the columns that may, then go on in blocks', () => {
  const columns = [
    { title: 'name', shrinkTo: 6 },
    { title: 'value', align: 'right' as const },
  ];
  const rows = [
    ['a-long-name', '1'],
    ['b', '22'],
  ];
  assert.deepEqual(renderTable(columns, rows, { width: Infinity }), [
    'name         value',
    'a-long-name      1',
    'b               22',
  ]);
  assert.deepEqual(renderTable(columns, rows, { width: 15 }), [
    'name      value',
    'a-long-…      1',
    'b            22',
  ]);
  const wide = ['', 'one', 'two', 'three'].map((title) => ({ title, align: 'right' as const }));
  assert.deepEqual(renderTable(wide, [['key', '1111', '2222', '3333']], { width: 16 }), [
    '      one   two',
    'key  1111  2222',
    '',
    '     three',
    'key   3333',
  ]);
});

test('a terminal gets colours and no other control characters, a pipe what was written', () => {
  const written: string[] = [];
  const streamOf = (isTTY: boolean): NodeJS.WriteStream =>
    ({
      isTTY,
      columns: 80,
      hasColors: () => true,
      write: (text: string) => written.push(text),
    }) as unknown as NodeJS.WriteStream;
  const hostile = 'a\u001b]0;title\u0007\u001b[2J\u009b5n\rb\u007f\tc';
  const terminal = terminalFor(streamOf(true));
  terminal.line(terminal.paint('red', hostile));
  terminal.write('csv,line\r\n');
  terminalFor(streamOf(false)).line(hostile);
  assert.deepEqual(written, [
    '\u001b[31ma\ufffd]0;title\ufffd\ufffd[2J\ufffd5n\ufffdb\ufffd\tc\u001b[39m\n',
    'csv,line\r\n',
    `${hostile}\n`,
  ]);
});
