// The live charts as a user has them: the real bundle in a real browser, fed with runs that the real command line has recorded.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import type { MetricsEvent } from '../../../src/runs';
import { RunFeed } from '../../../webview/charts/feed';
import { Data, Exported, Notice, Runs, type PanelState, type RunInfo } from '../../../webview/charts/protocol';
import type { Message } from '../../../webview/shared/messages';
import {
  becomes,
  ChartsPage,
  eventually,
  isAccessible,
  launchBrowser,
  runInfo,
  says,
  serve,
  themeOf,
  type ChartFacts,
  type ThemeName,
} from './page';
import { recordedRun, until } from './recorded';

const browser: Browser | null = await launchBrowser();
const skip = browser === null && 'no Chromium on this machine (Debian: apt install chromium)';

const rank32 = recordedRun('w2-rank32');
const rank8 = recordedRun('w2-rank8');
const info32 = runInfo({ id: 'w2-rank32', step: 150, lastCheckpoint: 150, best: { step: 150, perplexity: 56.269 } });
const info8 = runInfo({ id: 'w2-rank8', step: 150, lastCheckpoint: 150, attempt: 2 });
const controls = { allowed: true, reason: null };

const shown = (...runs: RunInfo[]): Message => Runs.of({ runs, controls });
const blue = (theme: ThemeName) => themeOf(theme).variables['--vscode-charts-blue']!;
const orange = (theme: ThemeName) => themeOf(theme).variables['--vscode-charts-orange']!;

function feedOf(run: Pick<typeof rank32, 'name' | 'events' | 'layers'>): RunFeed {
  const feed = new RunFeed(run.name);
  feed.add({ events: run.events, layers: run.layers, reset: false });
  return feed;
}
const snapshot = (feed: RunFeed): Message[] => [...feed.snapshot()].map((piece) => Data.of(piece));
const delta = (feed: RunFeed): Message[] => [...feed.delta()].map((piece) => Data.of(piece));

/** Losses of the recorded run over and over, to a length at which many steps share a pixel. */
function longRun(steps: number, change: (step: number, loss: number) => number = (_step, loss) => loss): RunFeed {
  const recorded = rank32.events.filter((event) => event.type === 'step');
  const events: MetricsEvent[] = Array.from({ length: steps }, (_, at) => {
    const event = recorded[at % recorded.length]!;
    return { ...event, step: at + 1, time: 1e12 + 100 * at, loss: change(at + 1, event.loss ?? 0) };
  });
  const feed = new RunFeed('w2-rank32');
  feed.add({ events, layers: [], reset: false });
  return feed;
}

const plainState: PanelState = {
  version: '1',
  runs: ['w2-rank32'],
  x: 'step',
  logX: false,
  logY: [],
  smoothing: 0,
  follow: true,
  focus: null,
  kind: null,
  hidden: [],
  tables: [],
  heat: 'flippedShare',
  zoom: null,
};

/** Drags in a chart from one point to another; both as shares of the data's width and height, y from above. */
async function drag(charts: ChartsPage, id: string, from: [number, number], to: [number, number]): Promise<void> {
  const box = (await charts.card(id).locator('.plot').boundingBox())!;
  const at = ([x, y]: [number, number]): [number, number] => [
    box.x + 64 + x * (box.width - 64 - 12),
    box.y + 8 + y * (box.height - 8 - 26),
  ];
  const { mouse } = charts.page;
  await mouse.move(...at(from));
  await mouse.down();
  await mouse.move((at(from)[0] + at(to)[0]) / 2, (at(from)[1] + at(to)[1]) / 2);
  await mouse.move(...at(to));
  await mouse.up();
  await charts.frame();
}

/** Waits until a chart's numbers are as asserted; returns them. */
const settled = (charts: ChartsPage, id: string, check: (facts: ChartFacts) => void): Promise<ChartFacts> =>
  eventually(async () => {
    const facts = await charts.facts(id);
    check(facts);
    return facts;
  });

const isInked = (charts: ChartsPage, id: string, colour: string, message?: string): Promise<void> =>
  eventually(async () => assert.ok((await charts.pixels(id, colour)).columns > 0.5, message));

const xRange = async (charts: ChartsPage): Promise<[number, number]> => [
  Number(await charts.panel('x-min')),
  Number(await charts.panel('x-max')),
];

void describe('live charts in a browser', { skip }, () => {
  let served: Awaited<ReturnType<typeof serve>>;
  before(async () => {
    served = await serve();
  });
  after(async () => {
    served.server.close();
    await browser?.close();
  });

  const open = (options: Parameters<typeof ChartsPage.open>[2] = {}) => ChartsPage.open(browser!, served.url, options);
  /** A page that is closed at the end, and must have had nothing to complain of. */
  const page = (name: string, body: (charts: ChartsPage) => Promise<void>, options: Parameters<typeof open>[0] = {}) =>
    it(name, async () => {
      const charts = await open(options);
      try {
        await body(charts);
        assert.deepEqual(charts.problems, []);
      } finally {
        await charts.close();
      }
    });

  void page('shows a run as it grows: by data and by pixels', async (charts) => {
    const feed = feedOf(until(rank32, 40));
    await charts.send([shown({ ...info32, step: 40 }), ...snapshot(feed)]);
    await settled(charts, 'loss', ({ points, lastStep }) => assert.deepEqual([points, lastStep], [40, 40]));
    await settled(charts, 'perplexity', ({ points }) => assert.equal(points, 0));
    await isInked(charts, 'loss', blue('dark'));
    const before40 = await charts.card('loss').locator('.plot-canvas').screenshot();

    const rest = until(rank32, 120);
    const from = until(rank32, 40);
    feed.add({
      events: rest.events.slice(from.events.length),
      layers: rest.layers.slice(from.layers.length),
      reset: false,
    });
    await charts.send([shown({ ...info32, step: 120 }), ...delta(feed)]);
    await settled(charts, 'loss', ({ points, lastStep }) => assert.deepEqual([points, lastStep], [120, 120]));
    await settled(charts, 'perplexity', ({ points }) => assert.equal(points, 2));
    await becomes(() => xRange(charts), [0, 120]);
    await eventually(async () =>
      assert.notDeepEqual(await charts.card('loss').locator('.plot-canvas').screenshot(), before40),
    );
    await isInked(charts, 'loss', blue('dark'));
    await eventually(async () => assert.ok(Number(await charts.panel('event-to-frame-ms')) > 0));
    await charts.card('layers').scrollIntoViewIfNeeded();
    await settled(charts, 'layers', ({ points }) => assert.equal(points, 42 * 2));
  });

  void page(
    'keeps a spike of one step visible at every zoom',
    async (charts) => {
      const feed = longRun(60_000, (step, loss) => (step === 37_037 ? 30 : loss));
      await charts.send([shown(info32), ...snapshot(feed)]);
      await settled(charts, 'loss', (whole) => {
        assert.equal(whole.points, 60_000);
        assert.ok(whole.drawn <= 2 * 1200 + 2, `${whole.drawn} points drawn`);
        assert.ok(whole.yMax > 30);
      });
      await eventually(async () => {
        const flat = await charts.pixels('loss', blue('dark'));
        assert.ok(flat.top > 0.85, `spike drawn up to ${flat.top}`);
      });
      // 0.617 is where the spike is.
      await drag(charts, 'loss', [0.55, 0.02], [0.7, 0.98]);
      await eventually(async () => {
        const [min, max] = await xRange(charts);
        assert.ok(min > 30_000 && max < 45_000 && min < 37_037 && max > 37_037, `${min} to ${max}`);
      });
      await eventually(async () => assert.ok((await charts.pixels('loss', blue('dark'))).top > 0.8));
      await charts.card('loss').locator('.plot-canvas').dblclick();
      await becomes(() => xRange(charts), [0, 60_000]);
      await settled(charts, 'loss', ({ points }) => assert.equal(points, 60_000));
      await drag(charts, 'loss', [0.1, 0.4], [0.4, 0.42]);
      await settled(charts, 'loss', ({ yMax }) => assert.ok(yMax < 6, 'y fits what is in view'));
    },
    { state: plainState },
  );

  void page('zooms by box, wheel and keys, pans, and shows all again on a double click', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    await drag(charts, 'loss', [0.2, 0.1], [0.6, 0.9]);
    const [min, max] = await eventually(async () => {
      const [from, to] = await xRange(charts);
      assert.ok(Math.abs(from - 30) < 3 && Math.abs(to - 90) < 3, `${from} to ${to}`);
      return [from, to];
    });
    const boxed = await settled(charts, 'loss', ({ points }) => assert.ok(points > 50 && points < 70, String(points)));
    await settled(charts, 'memory', ({ points }) => assert.equal(points, boxed.points, 'all charts share x'));

    await charts.page.keyboard.down('Shift');
    await drag(charts, 'loss', [0.5, 0.5], [0.75, 0.5]);
    await charts.page.keyboard.up('Shift');
    const [panned, pannedEnd] = await eventually(async () => {
      const [from, to] = await xRange(charts);
      assert.ok(from < min - 5 && Math.abs(to - from - (max - min)) < 1, `${from} to ${to}`);
      return [from, to];
    });

    const plot = charts.card('loss').locator('.plot');
    await plot.hover();
    await charts.page.keyboard.down('Control');
    await charts.page.mouse.wheel(0, -100);
    // The browser gives no sign of when a turn of the wheel has arrived; the key is held until it has.
    await eventually(async () => {
      const [nearer, nearerEnd] = await xRange(charts);
      assert.ok(nearerEnd - nearer < pannedEnd - panned);
    });
    await charts.page.keyboard.up('Control');
    await charts.frame();

    await plot.dblclick();
    await becomes(() => xRange(charts), [0, 150]);
  });

  void page('follows the newest point while zoomed, until the user looks elsewhere', async (charts) => {
    const feed = feedOf(until(rank32, 100));
    await charts.send([shown(info32), ...snapshot(feed)]);
    const grow = async (from: number, to: number) => {
      const events = rank32.events.filter((event) => event.type === 'step' && event.step > from && event.step <= to);
      feed.add({ events, layers: [], reset: false });
      await charts.send(delta(feed));
    };
    await drag(charts, 'loss', [0.8, 0.02], [1, 0.98]);
    const [min, max] = await eventually(async () => {
      assert.equal(await charts.panel('following'), 'true');
      const [from, to] = await xRange(charts);
      assert.ok(from > 50 && to === 100, `${from} to ${to}`);
      return [from, to];
    });
    await grow(100, 120);
    await eventually(async () => {
      const [followed, followedEnd] = await xRange(charts);
      assert.equal(followedEnd, 120);
      assert.ok(Math.abs(followedEnd - followed - (max - min)) < 1e-6);
    });

    await drag(charts, 'loss', [0.1, 0.02], [0.5, 0.98]);
    await becomes(() => charts.panel('following'), 'false');
    const looked = await xRange(charts);
    await grow(120, 140);
    await settled(charts, 'loss', ({ lastStep }) => assert.equal(lastStep, 140));
    assert.deepEqual(await xRange(charts), looked);

    await charts.page.getByRole('checkbox', { name: 'Follow' }).click();
    await becomes(async () => (await xRange(charts))[1], 140);
  });

  void page('lays runs over each other, with one tool tip for all at an x', async (charts) => {
    await charts.send([shown(info32, info8), ...snapshot(feedOf(rank32)), ...snapshot(feedOf(rank8))]);
    await settled(charts, 'loss', ({ points }) => assert.equal(points, 300, 'the resumed run has every step once'));
    await settled(charts, 'tokensPerSecond', ({ yMin }) => assert.ok(yMin > 0));
    await isInked(charts, 'tokensPerSecond', blue('dark'));
    await isInked(charts, 'tokensPerSecond', orange('dark'));

    const plot = charts.card('loss').locator('.plot');
    await plot.hover({ position: { x: 300, y: 90 } });
    const tooltip = charts.card('loss').locator('.tooltip');
    const said = await eventually(async () => {
      const shownText = await tooltip.innerText();
      assert.match(shownText, /^step \d+ · /);
      assert.match(shownText, /w2-rank32/);
      assert.match(shownText, /w2-rank8/);
      return shownText;
    });
    const step = Number(/^step (\d+)/.exec(said)?.[1]);
    const event = rank32.events.filter((each) => each.type === 'step').find((each) => each.step === step);
    assert.ok(said.includes(event!.loss!.toFixed(4)), 'the value of the file, not of a drawn point');

    await charts.page.getByRole('button', { name: 'Hide w2-rank8' }).click();
    await settled(charts, 'loss', ({ points }) => assert.equal(points, 150));
    await becomes(async () => (await charts.pixels('tokensPerSecond', orange('dark'))).columns, 0);
    await charts.page.getByRole('button', { name: 'Hide w2-rank32' }).click();
    await says(() => charts.card('loss').locator('.empty').innerText(), /All runs are hidden/);
    await charts.page.getByRole('button', { name: 'Show w2-rank32' }).click();
    await settled(charts, 'loss', ({ points }) => assert.equal(points, 150));
    await charts.page.getByRole('button', { name: 'Take w2-rank8 out of these charts' }).click();
    await becomes(() => charts.posted('charts/removeRun'), [{ run: 'w2-rank8' }]);
    await charts.page.locator('.run-name', { hasText: 'w2-rank8' }).click();
    await becomes(() => charts.page.locator('h1').first().innerText(), 'w2-rank8');
    await charts.send([shown(info32)]);
    await becomes(() => charts.page.locator('h1').first().innerText(), 'w2-rank32');
  });

  void page(
    'shows heat map and references of the run that is pointed at, with pointer and keyboard',
    async (charts) => {
      const better: MetricsEvent[] = rank8.events.map((event) =>
        event.type === 'eval' && event.form === 'float' ? { ...event, perplexity: 40 } : event,
      );
      await charts.send([
        shown(info32, info8),
        ...snapshot(feedOf(rank32)),
        ...snapshot(feedOf({ ...rank8, events: better })),
      ]);
      const subject = () => charts.card('layers').locator('.unit').innerText();
      const referenceIs = async (expected: RegExp) => {
        const { keyboard } = charts.page;
        const card = charts.card('perplexity');
        await card.locator('.plot').focus();
        // A card that has just come into view is drawn a frame or more later, and has nothing to point at before.
        await eventually(async () => {
          await keyboard.press('End');
          await charts.frame();
          assert.match(await card.locator('.tooltip').innerText(), expected);
        });
      };
      await charts.card('layers').scrollIntoViewIfNeeded();
      await becomes(subject, 'w2-rank32');
      await referenceIs(/w2-rank32 · float\s+49\.074/);

      const chip = charts.page.locator('.run-name', { hasText: 'w2-rank8' });
      await chip.focus();
      await becomes(subject, 'w2-rank8', 'while the keyboard is at it');
      await charts.card('perplexity').locator('.plot').focus();
      await becomes(subject, 'w2-rank32');

      await chip.hover();
      await becomes(subject, 'w2-rank8', 'while the pointer is at it');
      assert.equal(await charts.page.locator('h1').first().innerText(), 'w2-rank32', 'the header stays');
      await eventually(async () =>
        assert.ok((await charts.pixels('loss', blue('dark'))).columns < 0.02, 'the other run steps back'),
      );
      await isInked(charts, 'loss', orange('dark'));
      await charts.page.mouse.move(5, 5);
      await isInked(charts, 'loss', blue('dark'));

      await chip.click();
      await charts.page.mouse.move(5, 5);
      await becomes(subject, 'w2-rank8', 'the run of the header');
      await referenceIs(/w2-rank8 · float\s+40\.000/);
    },
  );

  void page('shows what the driver tells of the GPU, of runs that are on one', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    await settled(charts, 'loss', ({ points }) => assert.equal(points, 150));
    await becomes(() => charts.card('gpuWatts').isVisible(), false);
    const events = rank8.events.map((event) =>
      event.type !== 'step' || event.step % 3 !== 0
        ? event
        : { ...event, gpu: { utilization: 0.5, watts: 300 + event.step, celsius: 60, memoryUsed: 2 ** 34 } },
    );
    await charts.send([shown(info32, info8), ...snapshot(feedOf({ ...rank8, events }))]);
    await charts.card('gpuWatts').waitFor({ state: 'visible' });
    await charts.card('gpuWatts').scrollIntoViewIfNeeded();
    await settled(charts, 'gpuWatts', ({ yMax }) => assert.ok(yMax >= 450, String(yMax)));
    await isInked(charts, 'gpuWatts', orange('dark'));
    await charts.card('gpuWatts').locator('.plot').focus();
    await eventually(async () => {
      await charts.page.keyboard.press('End');
      await charts.frame();
      assert.match(await charts.card('gpuWatts').locator('.tooltip').innerText(), /w2-rank8\s+450 W/);
    });
    await becomes(() => charts.card('gpuUtilization').isVisible(), true);
    await isAccessible(charts.page);
    await charts.send([shown(info32)]);
    await becomes(() => charts.card('gpuWatts').isVisible(), false);
  });

  void page('draws the plain average of the weight that the slider ends at', async (charts) => {
    const length = 120_000;
    const feed = longRun(length, (step, loss) => loss + 3 / (1 + step / 500));
    const rows = [...feed.snapshot()];
    await charts.send([shown(info32), ...rows.map((piece) => Data.of(piece))]);
    const slider = charts.page.getByRole('slider');
    for (let press = 0; press < 12; press++) await slider.press('ArrowRight');
    await charts.frame();
    const weight = Number(await slider.getAttribute('aria-valuetext'));
    assert.ok(weight > 0.9 && weight < 1);
    const loss = rows.flatMap((piece) => [...new Float64Array(piece.rows!.columns.loss)]);
    await charts
      .card('loss')
      .locator('.plot')
      .hover({ position: { x: 300, y: 90 } });
    // Averages of so many steps are worked out over several frames.
    await eventually(async () => {
      const said = await charts.card('loss').locator('.tooltip').innerText();
      const step = Number(/^step ([\d,]+)/.exec(said)?.[1]?.replaceAll(',', ''));
      // The formula itself; of 20,000 steps more than enough counts.
      const from = Math.max(0, step - 20_000);
      let sum = 0;
      for (let row = from; row < step; row++) sum = weight * sum + (1 - weight) * loss[row]!;
      assert.ok(said.includes(`smoothed ${(sum / (1 - weight ** (step - from))).toFixed(4)}`), said);
    });
  });

  void page('has true logarithmic axes and says what they cannot show', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    const card = charts.card('learningRate');
    await settled(charts, 'learningRate', ({ points, yMin }) => {
      assert.ok(points > 0);
      assert.equal(yMin, 0);
    });
    await card.getByRole('button', { name: 'Learning rates: log y axis' }).click();
    await settled(charts, 'learningRate', ({ yMin, yMax }) =>
      assert.ok(yMin > 0 && yMin < 4e-6 && yMax > 4e-3, `${yMin} to ${yMax}`),
    );
    // Both rates of step 1 are zero.
    await says(() => card.locator('.notes').innerText(), /^2 values of 0 or less cannot be shown/);
    await charts.page.getByRole('checkbox', { name: 'Logarithmic x' }).click();
    await becomes(() => xRange(charts), [1, 150]);
    await charts.page.getByRole('radio', { name: 'Tokens' }).check();
    const tokens = rank32.events.reduce((sum, event) => sum + (event.type === 'step' ? event.tokens : 0), 0);
    await becomes(async () => (await xRange(charts))[1], tokens);
  });

  void page('takes on the theme, also while it is open', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    for (const theme of ['dark', 'light', 'high-contrast'] as const) {
      await charts.setTheme(theme);
      await isInked(charts, 'gradientNorm', blue(theme), theme);
    }
    await charts.send([shown({ ...info32, state: 'crashed' }, info8), ...snapshot(feedOf(rank8))]);
    await charts.card('loss').getByRole('button', { name: 'Loss: show as table' }).click();
    await charts.card('loss').locator('table tbody tr').first().waitFor();
    for (const theme of ['dark', 'light', 'high-contrast'] as const) {
      await charts.setTheme(theme);
      await isAccessible(charts.page, `${theme}, two runs, one crashed, with a table`);
    }
  });

  void page('is used with the keyboard alone', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    const { keyboard } = charts.page;
    const reached: string[] = [];
    for (let press = 0; press < 40; press++) {
      await keyboard.press('Tab');
      const name = await charts.page.evaluate(() => {
        const active = document.activeElement;
        return active?.closest('.plot') === active
          ? `plot ${active?.closest('section')?.dataset['chart'] ?? ''}`
          : (active?.getAttribute('aria-label') ?? active?.id ?? '');
      });
      reached.push(name);
      if (name === 'plot loss') break;
    }
    for (const wanted of ['Pause', 'Checkpoint Now', 'Stop…', 'x-step', 'smoothing', 'plot loss']) {
      assert.ok(reached.includes(wanted), `${wanted} is not among ${reached.join(', ')}`);
    }
    const live = charts.page.locator('[aria-live=polite]').last();
    await keyboard.press('ArrowRight');
    await says(() => live.innerText(), /^step 1 · .*Loss: 4\.0294/);
    await keyboard.press('ArrowRight');
    await says(() => live.innerText(), /^step 2 · /);
    await keyboard.press('End');
    await says(() => live.innerText(), /^step 150 · /);
    await keyboard.press('+');
    await eventually(async () => assert.ok((await xRange(charts))[0] > 0));
    await keyboard.press('Shift+ArrowLeft');
    await eventually(async () => assert.ok((await xRange(charts))[1] < 150));
    await keyboard.press('0');
    await becomes(() => xRange(charts), [0, 150]);
  });

  void page('sends Pause, Resume and Stop, and waits for what becomes of them', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    const { page: frame } = charts;
    await frame.getByRole('button', { name: 'Pause' }).click();
    await becomes(() => charts.posted('charts/control'), [{ run: 'w2-rank32', verb: 'pause' }]);
    await charts.send([shown({ ...info32, pending: 'pause' })]);
    await becomes(() => frame.getByRole('button', { name: 'Pausing…' }).isDisabled(), true);
    await charts.send([shown({ ...info32, state: 'paused' })]);
    await frame.getByRole('button', { name: 'Resume' }).click();
    await frame.getByRole('button', { name: 'Stop…' }).click();
    await becomes(
      async () => (await charts.posted<{ verb: string }>('charts/control')).map(({ verb }) => verb),
      ['pause', 'resume', 'stop'],
    );
    const reason = 'the workspace is not trusted';
    await charts.send([Runs.of({ runs: [info32], controls: { allowed: false, reason } })]);
    await becomes(() => frame.getByRole('button', { name: `Pause: ${reason}` }).isDisabled(), true);
    await charts.send([Notice.of({ severity: 'error', message: 'The control folder is read-only' })]);
    await says(() => frame.locator('.notice').innerText(), /read-only/);
  });

  void page('says what to do in every state', async (charts) => {
    await becomes(() => charts.page.locator('.grid').isVisible(), false, 'nothing before the first message');
    await charts.send([shown()]);
    await charts.page.locator('.nothing').getByRole('button', { name: 'Add Run…' }).click();
    await becomes(async () => (await charts.posted('charts/addRuns')).length, 1);
    await isAccessible(charts.page);
    const advice = charts.page.locator('.advice');
    const cases: [Partial<RunInfo>, RegExp][] = [
      [{ state: 'starting', phase: 'loading the model', progress: { done: 1, total: 4 } }, /Starting/],
      [{ loading: { done: 30, total: 90 } }, /33 % of the metrics file/],
      [{ state: 'stopped', lastCheckpoint: 100 }, /checkpoint of step 100/],
      [
        { state: 'failed', error: { message: 'out of memory', hint: 'Halve the micro-batch.' } },
        /out of memory\. Halve/,
      ],
      [{ state: 'crashed', lastCheckpoint: 50 }, /trainer is gone.*checkpoint of step 50/],
      [{ state: 'crashed', lastCheckpoint: null }, /no checkpoint/],
      [{ state: 'stale', heartbeat: Date.now() - 180_000 }, /last heard of 3 min/],
      [
        { problem: { message: 'status.json is of a later version', hint: 'Update the extension.' } },
        /later version\. Update/,
      ],
    ];
    for (const [changes, wanted] of cases) {
      await charts.send([shown({ ...info32, ...changes })]);
      await says(async () => (await advice.innerText()).replaceAll('\n', ' '), wanted);
    }
    await says(() => charts.page.locator('[data-chart=loss] .empty').innerText(), /No step yet/);
    // What only rounds has ended without any.
    await charts.send([shown({ ...info32, state: 'finished', step: 0, totalSteps: 0, setting: 'GPTQ · W2' })]);
    await says(() => charts.page.locator('[data-chart=loss] .empty').innerText(), /only rounds/);
    await says(() => charts.page.locator('.phase').innerText(), /no steps/);
    await says(() => charts.page.locator('.setting').innerText(), /^GPTQ · W2$/);
    await charts.send([
      shown({ ...info32, state: 'starting', phase: 'loading the model', progress: { done: 1, total: 4 } }),
    ]);
    await says(() => charts.page.locator('.phase').innerText(), /loading the model 25 %/);
    await charts.send([shown({ ...info32, state: 'failed' })]);
    await advice.getByRole('button', { name: 'Show Log' }).click();
    await becomes(() => charts.posted('charts/open'), [{ run: 'w2-rank32', what: 'log' }]);
  });

  void it('comes back after a reload as it was', async () => {
    const first = await open();
    let range: [number, number];
    let state: PanelState;
    try {
      await first.send([shown(info32, info8), ...snapshot(feedOf(rank32)), ...snapshot(feedOf(rank8))]);
      await first.page.getByRole('radio', { name: 'Tokens' }).check();
      await first.page.getByRole('button', { name: 'Hide w2-rank8' }).click();
      await settled(first, 'loss', ({ points }) => assert.equal(points, 150));
      await drag(first, 'loss', [0.2, 0.1], [0.6, 0.9]);
      await settled(first, 'loss', ({ points }) => assert.ok(points < 100));
      range = await xRange(first);
      // What is kept is what is shown, both axes of the box, which is written a moment after the last movement.
      await eventually(async () => {
        const { zoom } = await first.state();
        assert.deepEqual([zoom?.min, zoom?.max], range);
      });
      state = await first.state();
    } finally {
      await first.close();
    }
    assert.deepEqual(state.runs, ['w2-rank32', 'w2-rank8']);

    const second = await open({ state });
    try {
      assert.equal((await second.posted('charts/ready')).length, 1, 'asks for everything');
      await second.send([shown(info32, info8), ...snapshot(feedOf(rank32)), ...snapshot(feedOf(rank8))]);
      await becomes(() => xRange(second), range);
      await settled(second, 'loss', ({ points }) => assert.ok(points > 0 && points < 150));
      await becomes(() => second.page.getByRole('radio', { name: 'Tokens' }).isChecked(), true);
    } finally {
      await second.close();
    }
  });

  void page(
    'asks for a snapshot, once, when a delta does not fit, and reports messages that it does not know',
    async (charts) => {
      const feed = feedOf(until(rank32, 40));
      const [piece] = feed.snapshot();
      feed.add({ events: rank32.events.slice(-30), layers: [], reset: false });
      const late = delta(feed);
      await charts.send([shown(info32), ...late, ...late]);
      await becomes(() => charts.posted('charts/requestSnapshot'), [{ run: 'w2-rank32' }]);
      await settled(charts, 'loss', ({ points }) => assert.equal(points, 0));
      await charts.send([Data.of(piece!)]);
      await settled(charts, 'loss', ({ points }) => assert.equal(points, 40));
      await charts.send([
        { method: 'charts/nonsense', params: {} },
        { method: 'charts/runs', params: { runs: [{ id: 7 }], controls } },
      ]);
      await eventually(async () => {
        const reports = await charts.posted<{ message: string }>('charts/report');
        assert.equal(reports.length, 2);
        assert.match(reports[0]!.message, /unknown message "charts\/nonsense"/);
        assert.match(reports[1]!.message, /charts\/runs\.runs\[0\]\.id: expected a string, got 7/);
      });
      await settled(charts, 'loss', ({ points }) => assert.equal(points, 40));
    },
  );

  void page('saves pictures at twice the resolution and series as CSV through the host', async (charts) => {
    await charts.send([shown(info32), ...snapshot(feedOf(rank32))]);
    await settled(charts, 'loss', ({ points }) => assert.equal(points, 150));
    await charts.card('loss').getByRole('button', { name: 'Loss: save as PNG' }).click();
    await charts.card('loss').getByRole('button', { name: 'Loss: save as CSV' }).click();
    await charts.page.waitForFunction(
      () => window.posted.filter((each) => each.method === 'charts/export').length === 2,
    );
    const files = await charts.page.evaluate(() =>
      window.posted
        .filter((each) => each.method === 'charts/export')
        .map((each) => {
          const { kind, suggestedName, data } = each.params as {
            kind: string;
            suggestedName: string;
            data: ArrayBuffer;
          };
          return { kind, suggestedName, bytes: [...new Uint8Array(data)] };
        }),
    );
    const png = files.find((file) => file.kind === 'png')!;
    assert.equal(png.suggestedName, 'w2-rank32-loss.png');
    const bytes = Buffer.from(png.bytes);
    assert.equal(bytes.subarray(1, 4).toString(), 'PNG');
    const plot = (await charts.card('loss').locator('.plot').boundingBox())!;
    assert.equal(bytes.readUInt32BE(16), Math.round(plot.width) * 2);
    const csv = files.find((file) => file.kind === 'csv')!;
    const lines = Buffer.from(csv.bytes).toString().trimEnd().split('\r\n');
    assert.equal(lines[0], 'run,step,tokens,seconds,time,loss,loss_smoothed');
    assert.equal(lines.length, 151);
    const first = rank32.events.find((event) => event.type === 'step')!;
    assert.ok(lines[1]!.includes(String(first.loss)), 'numbers exactly as in the file');
    await charts.send([Exported.of({ id: 1, outcome: 'saved', message: 'loss.png' })]);
    await says(() => charts.page.locator('.notice').innerText(), /Saved loss\.png/);
  });
});
