// The form's slider in a real browser: from its event until the memory bar is painted, for the sample and for a model of 7B shape.
import type { Page } from 'playwright-core';
import { FormPage, sampleFacts, sampleText } from '../../webview/browser/form-page';
import { launchBrowser, serve } from '../../webview/browser/page';

const MOVES = 60;
/** LLaMA-2-7B. */
const LARGE = {
  hiddenSize: 4096,
  intermediateSize: 11_008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  headDim: 128,
  vocabSize: 32_000,
  maxPositions: 4096,
} as const;

const browser = await launchBrowser();
if (browser === null) {
  console.log('skipped: no Chromium on this machine (Debian: apt install chromium)');
} else {
  const { url, server } = await serve('form');
  const facts = await sampleFacts();
  const large = { ...facts, shape: { ...facts.shape, ...LARGE } };
  for (const [name, known] of [
    ['sample', facts],
    ['7B shape', large],
    // Does not fit: what would help is worked out as well.
    ['7B shape in 4 GiB', { ...large, machine: { ...large.machine, totalMemory: 4 * 2 ** 30 } }],
  ] as const) {
    const form = await FormPage.open(browser, url);
    await form.show(sampleText);
    await form.showFacts(known);
    if (known === facts) await form.showWeights();
    for (const [title, id] of [
      ['rank', 'quantization.lowRank.rank'],
      ['bits', 'quantization.weights.bits'],
    ] as const) {
      const { script, painted } = await moves(form.page, id);
      print(`${name}, ${title}: slider to bar, script`, script);
      print(`${name}, ${title}: slider to bar, painted`, painted, 50);
    }
    await form.close();
  }
  server.close();
  await browser.close();
}

/** Moves a slider from stop to stop. Milliseconds until the bar has its new widths, and until the frame after that has begun,
 *  with the picture in it on the screen. */
function moves(page: Page, id: string): Promise<{ script: number[]; painted: number[] }> {
  return page.evaluate(
    async ({ field, count }) => {
      const slider = document.querySelector<HTMLInputElement>(`[data-field="${field}"] input[type=range]`);
      const live = document.querySelector('.live');
      if (slider === null || live === null) throw new Error(`no slider ${field}`);
      const [script, painted]: [number[], number[]] = [[], []];
      for (let move = 0; move < count; move++) {
        // All of it: bits alone leave the memory of 8-bit storage as it is, and where activations fill what is left of the memory, the
        // total stays while its parts move.
        const before = live.textContent;
        slider.valueAsNumber = (slider.valueAsNumber + 1) % (Number(slider.max) + 1);
        const started = performance.now();
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        script.push(performance.now() - started);
        if (live.textContent === before) throw new Error('nothing has moved');
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        painted.push(performance.now() - started);
      }
      return { script, painted };
    },
    { field: id, count: MOVES },
  );
}

function print(what: string, milliseconds: readonly number[], budget?: number): void {
  const sorted = [...milliseconds].sort((a, b) => a - b);
  const quantile = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1);
  const limit = budget === undefined ? '' : `   budget ${String(budget)} ms`;
  console.log(`  ${what.padEnd(46)} median ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms${limit}`);
}
