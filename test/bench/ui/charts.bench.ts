// Live charts with runs of 10⁶ steps in a real browser, all charts in view: from the messages to the first picture, then frames
// of everything that moves. The numbers are those of a recorded run, over and over. The work of a frame is counted in time of the
// processor, which other programs on the machine do not lengthen by standing in the way; by the clock it is given beside.
//   --points N   steps of a run (default 1 000 000)
//   --runs N     runs laid over each other (default 1 and then 3)
import os from 'node:os';
import type { Browser, Page } from 'playwright-core';
import { PIECE } from '../../../webview/charts/feed';
import { LAYER_COLUMNS, ROW_COLUMNS, Runs } from '../../../webview/charts/protocol';
import { ChartsPage, launchBrowser, runInfo, serve } from '../../webview/browser/page';
import { recordedRun } from '../../webview/browser/recorded';
import { framesDuring } from './frames';
import { report, type Goal } from './report';

/** Moves of the mouse in each gesture. */
const MOVES = 120;
const FRAME: readonly Goal[] = [
  { of: 'p95', limit: 16 },
  { of: 'max', limit: 50 },
];

const points = option('points', [1_000_000])[0] ?? 0;

const browser = await launchBrowser();
if (browser === null) {
  console.log('skipped: no Chromium on this machine (Debian: apt install chromium)');
} else {
  const { url, server } = await serve();
  try {
    for (const runs of option('runs', [1, 3])) await measure(browser, url, runs);
  } finally {
    server.close();
    await browser.close();
  }
}

async function measure(chromium: Browser, url: string, runs: number): Promise<void> {
  const load = os.loadavg()[0] ?? NaN;
  console.log(`\n  ${String(runs)} × ${points.toLocaleString('en-US')} steps; load of the machine ${load.toFixed(1)}`);
  // High enough for all seven charts.
  const charts = await ChartsPage.open(chromium, url, { width: 1440, height: 2000 });
  const infos = Array.from({ length: runs }, (_, run) =>
    runInfo({ id: `run${String(run)}`, totalSteps: points, step: points }),
  );
  await charts.send([Runs.of({ runs: infos, controls: { allowed: true, reason: null } })]);

  for (const { id } of infos) await prepare(charts.page, id);
  const first: number[] = [];
  const loading = await framesDuring(chromium, charts.page, async () => {
    for (const { id } of infos) first.push(await firstPicture(charts.page, id));
  });
  report('first picture of a run, last message to frame', first);
  report('  frames while it comes: work a frame', loading.cpu, [{ of: 'max', limit: 50 }]);
  report('    by the clock', loading.work);
  await settled(charts.page);
  const { drawn } = await charts.facts('loss');
  console.log(`  points drawn in the loss chart: ${String(drawn)}`);

  const gesture = async (what: string, body: () => Promise<void>): Promise<void> => {
    const frames = await framesDuring(chromium, charts.page, body);
    report(`${what}: work a frame`, frames.cpu, FRAME);
    report(`  by the clock`, frames.work);
    report(`  from frame to frame`, frames.between);
    await settled(charts.page);
  };
  await gesture('smoothing slider dragged', () => dragSlider(charts));
  await gesture('zoom by wheel, in and out', () => wheel(charts));
  await zoomIn(charts);
  await gesture('panning', () => pan(charts));
  await charts.card('loss').locator('.plot').dblclick();
  await gesture('cursor moved over all steps', () => hover(charts));
  for (const id of ['loss', 'gradientNorm', 'learningRate']) {
    await charts.card(id).getByRole('button', { name: 'log y axis' }).click();
  }
  await zoomIn(charts);
  await gesture('panning, logarithmic y', () => pan(charts));
  await charts.card('loss').locator('.plot').dblclick();
  await settled(charts.page);

  const steps: number[] = [];
  const growing = await framesDuring(chromium, charts.page, async () => {
    steps.push(
      ...(await charts.page.evaluate(appended, { columns: [...ROW_COLUMNS], count: 60, points, piece: PIECE })),
    );
  });
  report('a step more: message to frame', steps, [{ of: 'p95', limit: 50 }]);
  report('  work a frame', growing.cpu, FRAME);
  await charts.close();
}

function option(name: string, otherwise: readonly number[]): readonly number[] {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : [Number(process.argv[at + 1])];
}

declare global {
  interface Window {
    /** Messages of the runs that are to be sent, by run. */
    prepared?: Map<string, object[]>;
  }
}

/** Sends a run; milliseconds from the last message of its snapshot until the frame that shows it has been painted. */
function firstPicture(page: Page, run: string): Promise<number> {
  return page.evaluate(async (id) => {
    const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    let started = 0;
    for (const params of window.prepared?.get(id) ?? []) {
      started = performance.now();
      window.dispatchEvent(new MessageEvent('message', { data: { method: 'charts/data', params } }));
      await painted();
    }
    window.prepared?.delete(id);
    return performance.now() - started;
  }, run);
}

/** Makes a run's messages in the page. */
async function prepare(page: Page, run: string): Promise<void> {
  const rows = recordedRun('w2-rank32').events.filter((event) => event.type === 'step');
  const recorded = rows.map(({ loss, learningRate, gradientNorm, tokens, tokensPerSecond, memory }) => ({
    loss: loss ?? NaN,
    learningRateLowRank: learningRate.lowRank,
    learningRateScales: learningRate.scales,
    gradientNorm: gradientNorm ?? NaN,
    tokens,
    tokensPerSecond,
    memoryEngine: memory.engine,
    memoryResident: memory.resident,
  }));
  await page.evaluate(
    ({ run: id, columns, layerColumns, piece, total, recorded: values }) => {
      const messages: object[] = [];
      const none = { evaluations: null, checkpoints: null, resumes: null, layers: null };
      for (let from = 0; from < total; from += piece) {
        const count = Math.min(piece, total - from);
        const made = Object.fromEntries(columns.map((name) => [name, new Float64Array(count)]));
        for (let row = 0; row < count; row++) {
          const step = from + row;
          const value = values[step % values.length] as Record<string, number>;
          const derived: Record<string, number> = {
            step: step + 1,
            time: 1.7e12 + 100 * step,
            elapsed: 100 * step,
            tokens: 2040 * (step + 1),
            skipped: 0,
            // The curve of a long training under the noise of a recorded one.
            loss: (value['loss'] ?? NaN) - 2 + 4 / (1 + step / 5000),
          };
          for (const name of columns) (made[name] as Float64Array)[row] = derived[name] ?? value[name] ?? NaN;
        }
        const buffers = Object.fromEntries(columns.map((name) => [name, (made[name] as Float64Array).buffer]));
        const revision = from / piece + 1;
        const place = { run: id, revision, base: revision - 1 };
        let params: object = { ...place, rows: { keep: from, count, columns: buffers }, ...none };
        if (from + count >= total) {
          // 200 evaluations, at each of which 224 linears (of 32 blocks) were measured.
          const steps = Array.from({ length: 200 }, (_, at) => Math.round(((at + 1) * total) / 200));
          const names = Array.from(
            { length: 224 },
            (_, at) => `model.layers.${String(Math.floor(at / 7))}.mlp.linear${String(at % 7)}`,
          );
          const cells: Record<string, Float64Array> = Object.fromEntries(
            layerColumns.map((name) => [name, new Float64Array(steps.length * names.length)]),
          );
          steps.forEach((step, at) => {
            for (let layer = 0; layer < names.length; layer++) {
              const share = (layer / names.length) * (at / steps.length);
              const cell: Record<string, number> = { step, layer, clippedShare: share, flippedShare: share };
              for (const name of layerColumns) {
                const column = cells[name];
                if (column !== undefined) column[at * names.length + layer] = cell[name] ?? 0;
              }
            }
          });
          const evaluations = steps.map((step, at) => ({
            ...{ step, elapsed: 100 * step, tokens: 2040 * step, time: 0, kind: 'validation', form: 'trained' },
            perplexity: 50 + 30 / (1 + at / 20),
          }));
          const buffersOfCells = Object.fromEntries(layerColumns.map((name) => [name, cells[name]?.buffer]));
          const layers = { names, rows: { keep: 0, count: steps.length * names.length, columns: buffersOfCells } };
          params = { ...params, layers, evaluations: { keep: 0, items: evaluations } };
        }
        messages.push(params);
      }
      (window.prepared ??= new Map()).set(id, messages);
    },
    {
      ...{ run, columns: [...ROW_COLUMNS], layerColumns: [...LAYER_COLUMNS] },
      ...{ piece: PIECE, total: points, recorded },
    },
  );
}

/** Until the panel has nothing left to compute or draw. */
async function settled(page: Page): Promise<void> {
  await page.waitForFunction(() => document.getElementById('panel')?.dataset['busy'] !== 'true');
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

async function middleOf(charts: ChartsPage, selector: string): Promise<{ x: number; y: number; width: number }> {
  const box = await charts.page.locator(selector).first().boundingBox();
  if (box === null) throw new Error(`no ${selector}`);
  return { x: box.x, y: box.y + box.height / 2, width: box.width };
}

/** From end to end and back. */
async function dragSlider(charts: ChartsPage): Promise<void> {
  const { x, y, width } = await middleOf(charts, '#smoothing');
  const { mouse } = charts.page;
  await mouse.move(x + 4, y);
  await mouse.down();
  for (let move = 0; move < MOVES; move++) {
    const share = 1 - Math.abs(1 - (2 * move) / MOVES);
    await mouse.move(x + 4 + share * (width - 8), y);
  }
  await mouse.move(x + 0.62 * width, y);
  await mouse.up();
}

async function wheel(charts: ChartsPage): Promise<void> {
  const { x, y, width } = await middleOf(charts, '[data-chart="loss"] .plot');
  await charts.page.mouse.move(x + 0.6 * width, y);
  await charts.page.keyboard.down('Control');
  for (let turn = 0; turn < MOVES; turn++) await charts.page.mouse.wheel(0, turn < MOVES / 2 ? -60 : 60);
  await charts.page.keyboard.up('Control');
}

async function zoomIn(charts: ChartsPage): Promise<void> {
  await charts.card('loss').locator('.plot').focus();
  for (let press = 0; press < 3; press++) await charts.page.keyboard.press('+');
  await settled(charts.page);
}

async function pan(charts: ChartsPage): Promise<void> {
  const { x, y } = await middleOf(charts, '[data-chart="loss"] .plot');
  const { mouse, keyboard } = charts.page;
  await keyboard.down('Shift');
  await mouse.move(x + 120, y);
  await mouse.down();
  for (let move = 0; move < MOVES; move++) await mouse.move(x + 120 + 3 * move, y);
  await mouse.up();
  await keyboard.up('Shift');
}

async function hover(charts: ChartsPage): Promise<void> {
  const { x, y, width } = await middleOf(charts, '[data-chart="loss"] .plot');
  for (let move = 0; move < MOVES; move++) {
    await charts.page.mouse.move(x + 70 + ((width - 90) * move) / MOVES, y);
  }
}

/** Sends one step after the other; milliseconds until each is painted. Runs in the page. */
async function appended(wanted: {
  columns: string[];
  count: number;
  points: number;
  piece: number;
}): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < wanted.count; index++) {
    const step = wanted.points + index;
    const row: Record<string, number> = { step: step + 1, elapsed: 100 * step, tokens: 2040 * (step + 1), loss: 2 };
    const columns = Object.fromEntries(wanted.columns.map((name) => [name, Float64Array.of(row[name] ?? 1).buffer]));
    const revision = Math.ceil(wanted.points / wanted.piece) + 1 + index;
    const rows = { keep: step, count: 1, columns };
    const none = { evaluations: null, checkpoints: null, resumes: null, layers: null };
    const params = { run: 'run0', revision, base: revision - 1, rows, ...none };
    const started = performance.now();
    window.dispatchEvent(new MessageEvent('message', { data: { method: 'charts/data', params } }));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    times.push(performance.now() - started);
  }
  return times;
}
