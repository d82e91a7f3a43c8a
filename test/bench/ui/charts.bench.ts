// Live charts with a run of 10⁶ steps in a real browser: from the messages to the first picture, a frame of panning, and a new
// step on top. The numbers are those of a recorded run, over and over.
//   --points N   steps of the run (default 1 000 000)
import type { Page } from 'playwright-core';
import { ROW_COLUMNS } from '../../../webview/charts/protocol';
import { Runs } from '../../../webview/charts/protocol';
import { ChartsPage, launchBrowser, runInfo, serve } from '../../webview/browser/page';
import { recordedRun } from '../../webview/browser/recorded';

const PIECE = 200_000;
const FRAMES = 90;

const at = process.argv.indexOf('--points');
const points = at < 0 ? 1_000_000 : Number(process.argv[at + 1]);

const browser = await launchBrowser();
if (browser === null) {
  console.log('skipped: no Chromium on this machine (Debian: apt install chromium)');
} else {
  const { url, server } = await serve();
  const charts = await ChartsPage.open(browser, url);
  const info = runInfo({ id: 'run', totalSteps: points, step: points });
  await charts.send([Runs.of({ runs: [info], controls: { allowed: true, reason: null } })]);

  const first = await firstPaint(charts.page);
  print(
    'first picture of the run',
    [first.toPicture],
    `${points.toLocaleString('en-US')} steps, ${String(first.megabytes)} MB`,
  );
  const { drawn } = await charts.facts('loss');
  console.log(`  points drawn in the loss chart: ${String(drawn)}`);

  const again = await framesOf(charts, async () => {
    for (let frame = 0; frame < 10; frame++) {
      await charts.page.getByRole('slider').press(frame % 2 === 0 ? 'ArrowRight' : 'ArrowLeft');
    }
  });
  print('frame, smoothing changed', again.script, 'the whole average anew');

  await zoomIn(charts);
  const pan = await framesOf(charts, () => panAcross(charts));
  print('frame of panning, script', pan.script);
  print('frame of panning, between frames', pan.between, 'with painting and what the browser does beside');

  const steps = await charts.page.evaluate(appended, { columns: [...ROW_COLUMNS], count: 40, points });
  print('new step, message to frame', steps);
  await charts.close();
  server.close();
  await browser.close();
}

/** Milliseconds from the first message of the snapshot until the frame that shows it all has been painted. */
async function firstPaint(page: Page): Promise<{ toPicture: number; megabytes: number }> {
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
  return page.evaluate(
    async ({ columns, piece, total, recorded: values }) => {
      // Made before the clock runs; in VS Code they come as buffers from another process.
      const messages: unknown[] = [];
      let megabytes = 0;
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
        megabytes += (columns.length * count * 8) / 1e6;
        const revision = from / piece + 1;
        const rowsOfPiece = { keep: from, count, columns: buffers };
        messages.push({
          method: 'charts/data',
          params: {
            run: 'run',
            revision,
            base: revision - 1,
            rows: rowsOfPiece,
            evaluations: null,
            checkpoints: null,
            resumes: null,
            layers: null,
          },
        });
      }
      const started = performance.now();
      for (const data of messages) window.dispatchEvent(new MessageEvent('message', { data }));
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return { toPicture: performance.now() - started, megabytes: Math.round(megabytes) };
    },
    { columns: [...ROW_COLUMNS], piece: PIECE, total: points, recorded },
  );
}

async function zoomIn(charts: ChartsPage): Promise<void> {
  await charts.card('loss').locator('.plot').focus();
  for (let press = 0; press < 3; press++) await charts.page.keyboard.press('+');
  await charts.frame();
}

async function panAcross(charts: ChartsPage): Promise<void> {
  const box = await charts.card('loss').locator('.plot').boundingBox();
  if (box === null) throw new Error('no loss chart');
  const { mouse, keyboard } = charts.page;
  await keyboard.down('Shift');
  await mouse.move(box.x + 120, box.y + 80);
  await mouse.down();
  for (let frame = 0; frame < FRAMES; frame++) {
    await mouse.move(box.x + 120 + 3 * frame, box.y + 80);
  }
  await mouse.up();
  await keyboard.up('Shift');
}

interface Frames {
  /** Milliseconds of the panel's own work a frame. */
  readonly script: number[];
  /** Milliseconds from one frame to the next, for frames in which the panel drew. */
  readonly between: number[];
}

async function framesOf(charts: ChartsPage, body: () => Promise<void>): Promise<Frames> {
  await charts.page.evaluate(() => {
    const panel = document.getElementById('panel');
    if (panel === null) throw new Error('no panel');
    const frames = { script: [] as number[], between: [] as number[], going: true };
    Object.assign(window, { benchFrames: frames });
    let drew = false;
    new MutationObserver(() => {
      drew = true;
      frames.script.push(Number(panel.dataset['frameMs']));
    }).observe(panel, { attributes: true, attributeFilter: ['data-frame-ms'] });
    let last = performance.now();
    const tick = (now: number) => {
      if (drew) frames.between.push(now - last);
      drew = false;
      last = now;
      if (frames.going) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await body();
  await charts.frame();
  return charts.page.evaluate(() => {
    const { benchFrames } = window as unknown as { benchFrames: Frames & { going: boolean } };
    benchFrames.going = false;
    return { script: benchFrames.script, between: benchFrames.between };
  });
}

/** Sends one step after the other; milliseconds until each is painted. Runs in the page. */
async function appended(wanted: { columns: string[]; count: number; points: number }): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < wanted.count; index++) {
    const step = wanted.points + index;
    const row: Record<string, number> = { step: step + 1, elapsed: 100 * step, tokens: 2040 * (step + 1), loss: 2 };
    const columns = Object.fromEntries(wanted.columns.map((name) => [name, Float64Array.of(row[name] ?? 1).buffer]));
    const revision = Math.ceil(wanted.points / 200_000) + 1 + index;
    const rows = { keep: step, count: 1, columns };
    const none = { evaluations: null, checkpoints: null, resumes: null, layers: null };
    const params = { run: 'run', revision, base: revision - 1, rows, ...none };
    const started = performance.now();
    window.dispatchEvent(new MessageEvent('message', { data: { method: 'charts/data', params } }));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    times.push(performance.now() - started);
  }
  return times;
}

function print(what: string, milliseconds: readonly number[], note = ''): void {
  const sorted = [...milliseconds].sort((a, b) => a - b);
  const quantile = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1);
  const numbers =
    sorted.length === 1
      ? `${quantile(0)} ms`
      : `median ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms (${String(sorted.length)})`;
  console.log(`  ${what.padEnd(34)} ${numbers}${note === '' ? '' : `   ${note}`}`);
}
