// The parts of the live charts that are neither series nor drawing.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { adviceFor } from '../../webview/charts/advice';
import { contentSecurityPolicy, panelHtml } from '../../webview/shared/page';
import { evenly } from '../../webview/charts/picture';
import { Control, Data, panelState, Runs, type RunInfo } from '../../webview/charts/protocol';
import { evaluationsCsv, layersCsv, rowsCsv } from '../../webview/charts/series/csv';
import { heatGrid, shortName } from '../../webview/charts/series/heat';
import { RunData } from '../../webview/charts/series/run-data';
import { RunFeed } from '../../webview/charts/feed';
import { contrast, mix, parseColour, standingOut, type Rgb } from '../../webview/shared/colour';
import { reading, tickLabel } from '../../webview/shared/format';
import { dispatch, on } from '../../webview/shared/messages';
import { runStyle } from '../../webview/shared/series/run-style';
import { randomRun, startEvent, stepEvent } from './events';

const info: RunInfo = {
  id: 'run',
  name: 'run',
  experiment: 'run',
  state: 'running',
  phase: null,
  progress: null,
  step: 3,
  totalSteps: 10,
  etaSeconds: null,
  device: null,
  setting: null,
  attempt: 1,
  created: 0,
  started: null,
  ended: null,
  heartbeat: 0,
  best: null,
  lastCheckpoint: null,
  error: null,
  problem: null,
  loading: null,
  pending: null,
};

function dataOf(...args: Parameters<RunFeed['add']>): RunData {
  const feed = new RunFeed('run');
  feed.add(...args);
  const data = new RunData();
  for (const piece of feed.snapshot()) assert.ok(data.apply(piece));
  return data;
}

void describe('contract', () => {
  const controls = { allowed: true, reason: null };

  it('gives a message to its handler, with its parameters checked', () => {
    const got: unknown[] = [];
    const handlers = [on(Control, ({ run, verb }) => got.push([run, verb]))];
    assert.equal(dispatch(Control.of({ run: 'a', verb: 'pause' }), handlers), null);
    assert.deepEqual(got, [['a', 'pause']]);
    assert.match(
      dispatch({ method: 'charts/control', params: { run: 'a', verb: 'delete' } }, handlers)!,
      /verb: expected one of pause, resume, stop, checkpoint/,
    );
    assert.match(dispatch({ method: 'charts/control', params: null }, handlers)!, /expected an object, got null/);
    assert.match(dispatch({ method: 'charts/other', params: {} }, handlers)!, /unknown message/);
    for (const nothing of [null, 7, 'text', [], {}]) assert.notEqual(dispatch(nothing, handlers), null);
    assert.equal(got.length, 1);
  });

  it('lets errors of handlers through', () => {
    const broken = on(Control, () => {
      throw new TypeError('a mistake of ours');
    });
    assert.throws(() => dispatch(Control.of({ run: 'a', verb: 'stop' }), [broken]), TypeError);
  });

  it('names the place of what is wrong', () => {
    const wrong = (changes: Record<string, unknown>) => () =>
      Runs.check({ runs: [{ ...info, ...changes }], controls }, 'runs');
    assert.doesNotThrow(wrong({ later: 'fields of later versions are passed over' }));
    assert.throws(wrong({ step: -1 }), /runs\.runs\[0\]\.step: expected a whole number of 0 or more, got -1/);
    assert.throws(wrong({ step: 1.5 }), /step/);
    assert.throws(wrong({ etaSeconds: NaN }), /etaSeconds: expected a finite number/);
    assert.throws(wrong({ state: 'dreaming' }), /state: expected one of queued/);
    assert.throws(wrong({ error: {} }), /error\.message: expected a string/);
  });

  it('takes no columns of a wrong length', () => {
    const feed = new RunFeed('run');
    feed.add({ events: [startEvent(0), stepEvent(1, 1), stepEvent(2, 2)], layers: [], reset: false });
    const [piece] = feed.snapshot();
    assert.doesNotThrow(() => Data.check(piece, 'data'));
    const rows = piece!.rows!;
    const changed = (columns: object, count = rows.count) => ({
      ...piece,
      rows: { ...rows, count, columns: { ...rows.columns, ...columns } },
    });
    assert.throws(() => Data.check(changed({}, 3), 'data'), /step: expected 3 float64, got 16 bytes/);
    assert.throws(() => Data.check(changed({ loss: new ArrayBuffer(4) }), 'data'), /loss: expected 2 float64/);
    assert.throws(() => Data.check(changed({ loss: [1, 2] }), 'data'), /loss: expected an ArrayBuffer, got an array/);
  });

  it('takes up stored state, or none', () => {
    const state = {
      version: '1',
      runs: ['a'],
      x: 'tokens',
      logX: true,
      logY: ['loss'],
      smoothing: 0.5,
      follow: false,
      focus: 'a',
      kind: null,
      hidden: [],
      tables: [],
      heat: 'scaleDrift',
      zoom: { min: 1, max: 2 },
    };
    assert.deepEqual(panelState(state), state);
    for (const other of [
      undefined,
      null,
      {},
      { ...state, version: '2' },
      { ...state, zoom: { min: 1 } },
      { ...state, x: 'hour' },
    ]) {
      assert.equal(panelState(other), null);
    }
  });
});

void describe('page', () => {
  const options = {
    script: 'charts.js',
    style: 'charts.css',
    cspSource: 'https://host.example',
    nonce: 'abc',
    language: 'de',
    title: '<Runs> & "more"',
    translations: { Pause: '</script><script>alert(1)</script>' },
  };

  it('allows its own script and style sheet, and nothing inline', () => {
    const policy = contentSecurityPolicy(options);
    assert.match(policy, /^default-src 'none'; script-src 'nonce-abc'; style-src https:\/\/host\.example /);
    assert.ok(!policy.includes('unsafe'));
  });

  it('cannot be broken out of by texts', () => {
    const html = panelHtml(options);
    assert.equal(html.match(/<script/g)?.length, 2);
    assert.ok(html.includes('<title>&lt;Runs&gt; &amp; &quot;more&quot;</title>'));
    assert.ok(html.includes('lang="de"'));
  });
});

void describe('RunData', () => {
  it('keeps derived series right through resumes, and asks for a snapshot where a delta does not fit', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { events, layers, random } = randomRun(seed);
      const feed = new RunFeed('run');
      const data = new RunData();
      for (const piece of feed.snapshot()) data.apply(piece);
      const choices = [0, 0.9].flatMap((smoothing) => [false, true].map((positive) => ({ smoothing, positive })));
      let at = 0;
      while (at < events.length) {
        const to = at + 1 + Math.floor(random() * 12);
        feed.add({ events: events.slice(at, to), layers: at === 0 ? layers : [], reset: false });
        at = to;
        for (const piece of feed.delta()) assert.ok(data.apply(piece));
        const afresh = dataOf({ events: events.slice(0, at), layers, reset: false });
        for (const choice of choices) {
          const now = data.series('loss', choice);
          const wanted = afresh.series('loss', choice);
          const values = now.values();
          wanted.values().forEach((value, row) => {
            const other = values[row] ?? NaN;
            assert.ok(Object.is(value, other) || Math.abs(value - other) < 1e-9);
          });
          const all = [now, wanted].map((each) => each.pyramid.extremes(0, values.length, { least: -1, greatest: -1 }));
          assert.deepEqual(all[0], all[1]);
        }
        assert.deepEqual(data.evaluations, afresh.evaluations);
      }
      assert.equal(new RunData().apply({ ...[...feed.snapshot()][0]!, base: 3 }), false);
    }
  });

  it('places steps on each axis', () => {
    const data = dataOf({ events: [startEvent(0), stepEvent(1, 100), stepEvent(2, 300)], layers: [], reset: false });
    assert.deepEqual(
      [0, 1, 2, 9].map((step) => data.xOfStep(step, 'tokens')),
      [0, 256, 512, 512],
    );
    assert.deepEqual(
      [1, 2].map((step) => data.xOfStep(step, 'time')),
      [100, 300],
    );
    assert.equal(data.xOfStep(7, 'step'), 7);
  });
});

void describe('CSV', () => {
  const { events, layers } = randomRun(4);
  const data = dataOf({ events, layers, reset: false });
  const parse = (pieces: Iterable<string>) =>
    [...pieces]
      .join('')
      .trimEnd()
      .split('\r\n')
      .map((line) => line.split(','));

  it('holds every step with the numbers of the file', () => {
    const lines = parse(
      rowsCsv([{ name: 'run', data }], {
        columns: ['loss'],
        smoothing: 0.9,
        smoothed: ['loss'],
        x: 'step',
        range: null,
      }),
    );
    assert.deepEqual(lines[0], ['run', 'step', 'tokens', 'seconds', 'time', 'loss', 'loss_smoothed']);
    assert.equal(lines.length - 1, data.rows.length);
    lines.slice(1).forEach((line, row) => {
      const loss = data.rows.column('loss')[row]!;
      assert.equal(line[5], Number.isNaN(loss) ? '' : String(loss));
      assert.equal(Number(line[1]), data.rows.column('step')[row]);
      assert.equal(new Date(line[4]!).getTime(), data.rows.column('time')[row]);
    });
  });

  it('keeps to the range in view', () => {
    const range = { min: 5, max: 9 };
    const lines = parse(
      rowsCsv([{ name: 'run', data }], { columns: ['loss'], smoothing: 0, smoothed: [], x: 'step', range }),
    );
    assert.deepEqual(
      lines.slice(1).map((line) => line[1]),
      ['5', '6', '7', '8', '9'],
    );
  });

  it('writes evaluations and layers', () => {
    assert.equal(parse(evaluationsCsv([{ name: 'run', data }])).length - 1, data.evaluations.length);
    assert.equal(parse(layersCsv([{ name: 'run', data }])).length - 1, data.layers.length);
  });

  it('quotes names, and disarms those that a spreadsheet would run', () => {
    const line = (name: string) => [...evaluationsCsv([{ name, data }])].join('').split('\r\n')[1]!;
    assert.ok(line('a "b", c').startsWith('"a ""b"", c",'));
    assert.ok(line('=SUM(A1)').startsWith("'=SUM(A1),"));
  });
});

void describe('heat map', () => {
  it('is a grid of the last measurement of each linear at each step', () => {
    const layer = (step: number, name: string, flipped: number) =>
      ({ type: 'layer', step, name, clippedShare: 0, flipped, weights: 100, scaleDrift: null }) as const;
    const data = dataOf({
      events: [],
      layers: [layer(50, 'a', 1), layer(50, 'b', 2), layer(100, 'a', 3), layer(100, 'a', 4)],
      reset: false,
    });
    const grid = heatGrid(data, 'flippedShare');
    assert.deepEqual([...grid.steps], [50, 100]);
    assert.deepEqual([...grid.values], [0.01, 0.04, 0.02, NaN]);
    assert.equal(grid.most, 0.04);
    assert.equal(heatGrid(data, 'scaleDrift').most, 0);
  });

  it('shortens names', () => {
    assert.deepEqual(shortName('model.layers.11.self_attn.q_proj'), { block: '11', linear: 'q_proj' });
    assert.deepEqual(shortName('lm_head'), { block: null, linear: 'lm_head' });
  });
});

void describe('styles of runs', () => {
  it('are all different for more runs than anybody compares, and neighbours differ in colour and marker', () => {
    const styles = Array.from({ length: 600 }, (_, at) => runStyle(at));
    assert.equal(new Set(styles.map((style) => JSON.stringify(style))).size, 600);
    styles.slice(1).forEach((style, at) => {
      assert.notEqual(style.colour, styles[at]!.colour);
      assert.notEqual(style.marker, styles[at]!.marker);
    });
  });

  it('differ without colour, too, for the first ones', () => {
    const shapes = Array.from({ length: 30 }, (_, at) => runStyle(at)).map(({ dash, marker }) =>
      JSON.stringify([dash, marker]),
    );
    assert.equal(new Set(shapes).size, 30);
  });
});

void describe('colours', () => {
  const black: Rgb = [0, 0, 0];
  const white: Rgb = [255, 255, 255];

  it('are read in the forms of computed styles', () => {
    assert.deepEqual(parseColour('#3794ff'), [0x37, 0x94, 0xff]);
    assert.deepEqual(parseColour('#fff'), white);
    assert.deepEqual(parseColour('rgb(1, 2, 3)'), [1, 2, 3]);
    assert.deepEqual(parseColour('rgba(255, 255, 255, 0.5)', black), [127.5, 127.5, 127.5]);
    assert.deepEqual(parseColour('#ffffff80', black)?.map(Math.round), [128, 128, 128]);
    for (const other of ['', 'blue', 'var(--x)', 'rgb(a, b, c)']) assert.equal(parseColour(other), null);
  });

  it('are made to stand out where a theme chose badly', () => {
    assert.ok(Math.abs(contrast(black, white) - 21) < 1e-9);
    assert.equal(contrast(white, white), 1);
    const yellow: Rgb = [255, 255, 0];
    const seen = standingOut(yellow, white, black, 3);
    assert.ok(contrast(seen, white) >= 3);
    assert.deepEqual(standingOut(yellow, black, white, 3), yellow);
    assert.deepEqual(mix(black, white, 0.25), [63.75, 63.75, 63.75]);
  });
});

void describe('numbers', () => {
  it('come with units and as many digits as mean something', () => {
    assert.equal(reading(4.08276, 'nats'), '4.0828');
    assert.equal(reading(56.269126, 'perplexity'), '56.269');
    assert.equal(reading(1234567, 'perplexity'), '1.23e+6');
    assert.equal(reading(9890.49, 'speed'), '9.89 k tok/s');
    assert.equal(reading(175399936, 'bytes'), '167.3 MiB');
    assert.equal(reading(0.0712, 'share'), '7.12 %');
    assert.equal(reading(0.00012, 'share'), '0.012 %');
    assert.equal(reading(83_000, 'time'), '1 min 23 s');
    assert.equal(reading(NaN, 'nats'), '–');
    assert.equal(tickLabel(12_000, 'speed'), '12 k');
    assert.equal(tickLabel(4e-3, 'rate'), '4e-3');
    assert.equal(tickLabel(0.30000000000000004, 'nats'), '0.3');
    assert.equal(tickLabel(0, 'bytes'), '0');
    assert.equal(tickLabel(200 * 2 ** 20, 'bytes'), '200 MiB');
  });

  it('are picked evenly for tables, with the first and the last', () => {
    assert.deepEqual(evenly(3, 10), [0, 1, 2]);
    assert.deepEqual(evenly(1000, 5), [0, 250, 500, 749, 999]);
    assert.deepEqual(evenly(0, 5), []);
  });
});

void describe('advice', () => {
  it('is there for each state that needs some, and only then', () => {
    const said = (changes: Partial<RunInfo>) => adviceFor({ ...info, ...changes }, 1000);
    for (const state of ['running', 'stopping', 'finished'] as const) assert.equal(said({ state }), null);
    for (const state of ['queued', 'starting', 'paused', 'stopped', 'failed', 'crashed', 'stale'] as const) {
      assert.ok(said({ state })!.title !== '', state);
    }
    assert.deepEqual(said({ state: 'crashed' })!.actions, ['resume', 'log']);
    assert.equal(said({ state: 'failed', error: { message: 'no memory', hint: null } })!.text, 'no memory.');
    assert.equal(said({ state: 'running', problem: { message: 'gone!', hint: 'Close it.' } })!.text, 'gone! Close it.');
  });
});
