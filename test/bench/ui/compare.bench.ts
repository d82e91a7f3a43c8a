// Compare Runs with many runs in a real browser: from the message to the first picture, sorting, filtering, a live run that
// changes, and frames of scrolling both ways.
//   --runs N   default 200
import { Changed, Runs, type Run } from '../../../webview/compare/protocol';
import { ComparePage, compareRun } from '../../webview/browser/compare-page';
import { launchBrowser, serve } from '../../webview/browser/page';

const FRAMES = 120;
/** So many that the 95th percentile is not the slowest alone. */
const ROUNDS = 41;

const option = process.argv.indexOf('--runs');
const count = option < 0 ? 200 : Number(process.argv[option + 1]);

const runs: Run[] = Array.from({ length: count }, (_, at) => {
  const run = compareRun(`${String(100_000 + at)}-w2`, {
    bits: 2 + (at % 3),
    rank: 8 + (at % 64),
    trained: 50 + (at % 37),
  });
  // As many settings as a real experiment has.
  const more = Object.fromEntries(
    Array.from({ length: 36 }, (_each, key) => [`training.setting${String(key)}`, key % 3 === 0 ? at % 5 : 1]),
  );
  return { ...run, settings: { ...run.settings, ...more } };
});

const browser = await launchBrowser();
if (browser === null) {
  console.log('skipped: no Chromium on this machine (Debian: apt install chromium)');
} else {
  const { url, server } = await serve('compare');
  try {
    const opened: number[] = [];
    for (let round = 0; round < 3; round++) {
      const panel = await ComparePage.open(browser, url);
      opened.push(await delivered(panel, Runs.of({ runs })));
      await panel.close();
    }
    print(`${String(count)} runs, message to picture`, opened, 200);

    const panel = await ComparePage.open(browser, url);
    await delivered(panel, Runs.of({ runs }));
    const sorting: number[] = [];
    const filtering: number[] = [];
    const changing: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      sorting.push(await acted(panel, '[data-row="perplexity.trained"][role=rowheader] .sort', 'click'));
      filtering.push(await acted(panel, '#filter', round % 2 === 0 ? 'bits=3 rank>20' : ''));
      const [first] = runs;
      if (first === undefined) throw new Error('no runs');
      const changed = { ...first, metrics: { ...first.metrics, loss: 3 + round / 100 } };
      changing.push(await delivered(panel, Changed.of({ runs: [changed] })));
    }
    print('sort, click to picture', sorting, 50);
    print('filter, letter to picture', filtering, 50);
    print('a live run changes, message to picture', changing, 50);
    for (const layout of ['Columns', 'Rows']) {
      await panel.page.getByRole('radio', { name: layout }).check();
      await panel.frame();
      for (const [name, dx, dy] of [
        ['across', 60, 0],
        ['down', 0, 40],
      ] as const) {
        print(`scrolling ${name}, runs as ${layout.toLowerCase()}, between frames`, await scrolled(panel, dx, dy), 33);
      }
    }
    await panel.close();
  } finally {
    server.close();
    await browser.close();
  }
}

/** Milliseconds until the picture after a message has been painted. */
function delivered(
  panel: ComparePage,
  message: { readonly method: string; readonly params: unknown },
): Promise<number> {
  return panel.page.evaluate(async (data) => {
    const started = performance.now();
    window.dispatchEvent(new MessageEvent('message', { data }));
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    return performance.now() - started;
  }, message);
}

/** The same after a click, or a text put into a field. */
function acted(panel: ComparePage, selector: string, action: string): Promise<number> {
  return panel.page.evaluate(
    async ([target, what]) => {
      const found = document.querySelector<HTMLElement>(target ?? '');
      if (found === null) throw new Error(`no ${String(target)}`);
      const started = performance.now();
      if (found instanceof HTMLInputElement) {
        found.value = what ?? '';
        found.dispatchEvent(new Event('input'));
      } else found.click();
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return performance.now() - started;
    },
    [selector, action],
  );
}

/** Scrolls a little at every frame; milliseconds from one to the next. */
function scrolled(panel: ComparePage, dx: number, dy: number): Promise<number[]> {
  return panel.page.evaluate(
    async ({ frames, x, y }) => {
      const scroller = document.querySelector('.grid-scroller');
      if (scroller === null) throw new Error('no table');
      scroller.scrollTo(0, 0);
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const times: number[] = [];
      let last = performance.now();
      for (let frame = 0; frame < frames; frame++) {
        scroller.scrollBy(x, y);
        const now = await new Promise<number>((resolve) => requestAnimationFrame(resolve));
        times.push(now - last);
        last = now;
      }
      // The first one began between two frames.
      return times.slice(1);
    },
    { frames: FRAMES, x: dx, y: dy },
  );
}

function print(what: string, milliseconds: readonly number[], budget: number): void {
  const sorted = [...milliseconds].sort((a, b) => a - b);
  const quantile = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1).padStart(6);
  console.log(
    `  ${what.padEnd(52)} median ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms  (budget ${String(budget)} ms, ${String(sorted.length)} times)`,
  );
}
