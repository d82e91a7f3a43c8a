// Compare Runs as a user has it: the real bundle in a real browser.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { compareRuns, comparisonCsv, comparisonLatex, comparisonMarkdown } from '../../../src/compare';
import { Changed, Notice, Runs, type PanelState, type Run } from '../../../webview/compare/protocol';
import { becomes, eventually, isAccessible, launchBrowser, says, serve } from './page';
import { ComparePage, compareRun, FOUR } from './compare-page';

const browser: Browser | null = await launchBrowser();
const skip = browser === null && 'no Chromium on this machine (Debian: apt install chromium)';

const shown = (runs: readonly Run[]) => Runs.of({ runs });
const [RANK8, WIDE, W3, W4] = FOUR.map(({ id }) => id) as [string, string, string, string];
const PPL = 'perplexity.trained';

void describe('compare runs in a browser', { skip }, () => {
  let served: Awaited<ReturnType<typeof serve>>;
  before(async () => {
    served = await serve('compare');
  });
  after(async () => {
    served.server.close();
    await browser?.close();
  });

  const open = (options: Parameters<typeof ComparePage.open>[2] = {}) =>
    ComparePage.open(browser!, served.url, options);
  /** A page that is closed at the end, and must have had nothing to complain of. */
  const page = (name: string, body: (panel: ComparePage) => Promise<void>, options: Parameters<typeof open>[0] = {}) =>
    it(name, async () => {
      const panel = await open(options);
      try {
        await body(panel);
        assert.deepEqual(panel.problems, []);
      } finally {
        await panel.close();
      }
    });

  void page('shows runs side by side: values, differences from the baseline, the best', async (panel) => {
    await panel.send([shown(FOUR)]);
    await becomes(() => panel.order(), [RANK8, WIDE, W3, W4]);
    await becomes(() => panel.cell(PPL, RANK8).innerText(), '58.100');
    await says(() => panel.cell(PPL, W3).innerText(), /51\.200\s+\(best\)\s*−6\.900\s+better/);
    await says(
      async () => (await panel.cell('bitsPerWeight', W3).innerText()).replace(/\s+/g, ' '),
      /3\.13 ?\+1\.00 worse/,
    );
    await says(async () => (await panel.cell(PPL, W3).getAttribute('class')) ?? '', /\bbest\b/);
    // Settings that differ stand before those that do not.
    await eventually(async () => {
      const keys = await panel.page.locator('.grid-body [role=rowheader]').allInnerTexts();
      const at = (text: string) => keys.findIndex((key) => key.replaceAll('\n', '') === text);
      assert.ok(at('Settings that differ') < at('quantization.weights.bits'));
      assert.ok(at('quantization.lowRank.rank') < at('11 settings that are the same in all runs'));
      assert.ok(at('11 settings that are the same in all runs') < at('model.path'));
    });

    await panel.page.getByRole('checkbox', { name: 'Hide identical' }).click();
    await becomes(() => panel.cell('model.path', RANK8).count(), 0);
    await becomes(() => panel.cell('quantization.weights.bits', RANK8).innerText(), '2');

    await panel.page.getByRole('button', { name: /Measure others against .*w3-rank32/ }).click();
    await says(() => panel.cell(PPL, RANK8).innerText(), /58\.100\s*\+6\.900\s+worse/);
  });

  void page('sorts by any line, filters, finds, pins and takes out', async (panel) => {
    await panel.send([shown(FOUR)]);
    const sort = panel.page.getByRole('button', { name: /trained perplexity/ }).first();
    await sort.click();
    await becomes(() => panel.order(), [W3, W4, WIDE, RANK8]);
    const header = panel.page.locator(`[role=rowheader][data-row="${PPL}"]`);
    await becomes(() => header.getAttribute('aria-sort'), 'ascending');
    await sort.click();
    await becomes(() => panel.order(), [RANK8, WIDE, W4, W3]);
    await panel.page.getByRole('button', { name: 'Pin Wide at the front' }).click();
    await becomes(() => panel.order(), [WIDE, RANK8, W4, W3]);
    const filter = panel.page.getByRole('searchbox', { name: 'Filter runs' });
    await filter.fill('bits>=3');
    await becomes(() => panel.order(), [WIDE, W4, W3], 'what is pinned stays');
    await becomes(() => panel.page.locator('h1').first().innerText(), '3 of 4 runs');
    await filter.fill('');
    await panel.page.getByRole('searchbox', { name: 'Find settings and metrics' }).fill('learning lowrank');
    await becomes(() => panel.cell(PPL, WIDE).count(), 0);
    await becomes(() => panel.cell('training.learningRate.lowRank', WIDE).innerText(), '0.001');
    await panel.page.getByRole('button', { name: 'Take Wide out of this comparison' }).click();
    await becomes(() => panel.posted('compare/removeRun'), [{ run: WIDE }]);
    await panel.send([shown(FOUR.filter(({ id }) => id !== WIDE))]);
    await becomes(() => panel.order(), [RANK8, W4, W3]);
    await filter.fill('nothing has this');
    await says(() => panel.page.locator('.nothing-fits').innerText(), /No run fits/);
  });

  void page('copies what it shows, as the command line prints it', async (panel) => {
    await panel.send([shown(FOUR)]);
    await panel.page.getByRole('checkbox', { name: 'Hide identical' }).click();
    for (const name of ['Markdown', 'LaTeX', 'CSV']) {
      await panel.page.getByRole('button', { name: `Copy the tables as ${name}` }).click();
    }
    await panel.page.getByRole('radio', { name: 'Rows' }).check();
    await panel.page.getByRole('button', { name: 'Copy the tables as Markdown' }).click();
    const comparison = compareRuns(FOUR);
    await becomes(
      () => panel.posted('compare/copy'),
      [
        { format: 'markdown', text: comparisonMarkdown(comparison) },
        { format: 'latex', text: comparisonLatex(comparison) },
        { format: 'csv', text: comparisonCsv(comparison) },
        { format: 'markdown', text: comparisonMarkdown(comparison, true) },
      ],
    );
    await panel.page.getByRole('button', { name: /^Overlay Charts/ }).click();
    await becomes(() => panel.posted('compare/openCharts'), [{ runs: [RANK8, WIDE, W3, W4] }]);
    await panel.page.getByRole('button', { name: /^Save Report/ }).click();
    await becomes(
      () => panel.posted('compare/saveReport'),
      [{ runs: [RANK8, WIDE, W3, W4], baseline: RANK8, identical: false }],
    );
    await panel.send([Notice.of({ severity: 'information', message: 'Copied as CSV' })]);
    await says(() => panel.page.locator('.notice').innerText(), /Copied as CSV/);
  });

  void page('draws perplexity against cost with its front, readable by mouse and by keys', async (panel) => {
    await panel.send([shown([...FOUR, compareRun('140000-w2-live')])]);
    const card = panel.page.locator('.card');
    await becomes(() => card.getAttribute('data-points'), '4');
    // Wide, w3-rank32 and float.
    await becomes(() => card.getAttribute('data-on-front'), '3');
    await becomes(() => card.locator('circle.point').count(), 4);
    await becomes(() => card.locator('circle.point.on-front').count(), 2);
    await becomes(() => card.locator('rect.float').count(), 1);
    await becomes(() => card.locator('polygon.round-to-nearest').count(), 3);
    await becomes(() => card.locator('path.front').count(), 1);
    await says(() => card.locator('.notes').innerText(), /1 run is not drawn/);
    // Until the card has its size the points may move.
    await eventually(async () => {
      const box = (await card.locator('circle.point.on-front').first().boundingBox())!;
      await panel.page.mouse.move(box.x + 5, box.y + 5);
      assert.match(
        await card.locator('.tooltip').innerText(),
        /Wide\s+perplexity 55\.400 · bits per weight 2\.13 · on the front/,
      );
    });
    await panel.page.mouse.move(0, 0);
    await card.locator('.plot').focus();
    await panel.page.keyboard.press('End');
    await says(
      () => card.locator('[aria-live]').innerText(),
      /^float: perplexity 49\.200 · bits per weight 16\.00 · on the front$/,
    );
    await panel.page.keyboard.press('ArrowLeft');
    await says(() => card.locator('[aria-live]').innerText(), /off the front$/);
    await panel.page.keyboard.press('Escape');
    await becomes(() => card.locator('.tooltip').isVisible(), false);
    await card.getByRole('combobox').click();
    await card.getByRole('option', { name: 'peak memory of training' }).click();
    await becomes(() => card.getAttribute('data-cost'), 'peakMemoryBytes');
    // Float and three roundings are lines.
    await becomes(() => card.locator('.reference').count(), 4);
    await card.getByRole('button', { name: 'Perplexity against cost: show as table' }).click();
    // The run in training has both.
    await becomes(() => card.locator('table.data tbody tr').count(), 5);
    await panel.page.getByRole('checkbox', { name: 'Show Picture' }).click();
    await becomes(() => card.isVisible(), false);
  });

  void page('has no accessibility problem in any theme, turned either way', async (panel) => {
    await panel.send([shown([...FOUR, compareRun('140000-w2-live', { state: 'crashed' })])]);
    await panel.page.getByRole('button', { name: 'Perplexity against cost: show as table' }).click();
    for (const layout of ['Columns', 'Rows']) {
      await panel.page.getByRole('radio', { name: layout }).check();
      await becomes(() => panel.page.locator('#panel').getAttribute('data-layout'), layout.toLowerCase());
      for (const theme of ['dark', 'light', 'high-contrast'] as const) {
        await panel.setTheme(theme);
        await isAccessible(panel.page, `${theme}, ${layout}`);
      }
    }
    await panel.send([shown([])]);
    await says(() => panel.page.locator('.nothing').innerText(), /No run to compare/);
    await isAccessible(panel.page);
  });

  void page('is used with the keyboard alone, and keeps its place while runs change', async (panel) => {
    const live = compareRun('140000-w2-live');
    await panel.send([shown([...FOUR, live])]);
    const focused = () =>
      panel.page.evaluate(() => {
        const cell = document.activeElement?.closest<HTMLElement>('[data-row]');
        return cell === null || cell === undefined
          ? ''
          : `${cell.dataset['row'] ?? ''} / ${cell.dataset['column'] ?? ''}`;
      });
    const { keyboard } = panel.page;
    await panel.page.getByRole('checkbox', { name: 'Show Picture' }).focus();
    await keyboard.press('Tab');
    await becomes(focused, ' / ', 'one tab stop, at the corner');
    await keyboard.press('ArrowDown');
    await keyboard.press('ArrowDown');
    await keyboard.press('ArrowRight');
    await becomes(focused, `perplexity.float / ${RANK8}`);
    await keyboard.press('End');
    await becomes(focused, `perplexity.float / ${live.id}`);
    await keyboard.press('ArrowDown');
    await becomes(focused, `perplexity.roundToNearest / ${live.id}`);
    await panel.send([Changed.of({ runs: [{ ...live, done: 0.7, metrics: { ...live.metrics, step: 105 } }] })]);
    await says(() => panel.cell('step', live.id).innerText(), /^105(\n|$)/);
    await becomes(focused, `perplexity.roundToNearest / ${live.id}`);
    await keyboard.press('Control+End');
    await becomes(focused, `data.sequenceLength / ${live.id}`, 'scrolls there');
    await keyboard.press('Control+Home');
    await keyboard.press('ArrowRight');
    await keyboard.press('Tab');
    await keyboard.press('Tab');
    await keyboard.press('Enter');
    await panel.frame();
    await panel.page.waitForFunction(() => (window.storedState as PanelState | null)?.pinned.length === 1);
  });

  void it('comes back after a reload as it was', async () => {
    const first = await open();
    let state: PanelState;
    try {
      await first.send([shown(FOUR)]);
      await first.page.getByRole('radio', { name: 'Rows' }).check();
      await first.page.getByRole('searchbox', { name: 'Filter runs' }).fill('rank=32');
      await first.page.getByRole('button', { name: /^trained perplexity/ }).click();
      // Before the first save there is no state at all.
      await first.page.waitForFunction(() => {
        const stored = window.storedState as PanelState | null;
        return stored !== null && stored.sort !== null && stored.filter !== '';
      });
      state = await first.state();
    } finally {
      await first.close();
    }
    assert.deepEqual(state.runs, [RANK8, WIDE, W3, W4]);
    const second = await open({ state });
    try {
      await second.send([shown(FOUR)]);
      await becomes(() => second.order('rows'), [W3, W4, WIDE]);
      await becomes(() => second.page.getByRole('radio', { name: 'Rows' }).isChecked(), true);
    } finally {
      await second.close();
    }
  });

  void page(
    'makes only the cells in view of many runs, and header and names stay while it scrolls',
    async (panel) => {
      const many = Array.from({ length: 200 }, (_, at) =>
        compareRun(`${String(100_000 + at)}-w2`, { bits: 2 + (at % 3), rank: 8 + at, trained: 50 + (at % 37) }),
      );
      await panel.send([shown(many)]);
      await becomes(() => panel.page.locator('.grid-scroller').getAttribute('aria-colcount'), '201');
      const cells = await panel.page.locator('.grid-scroller .cell').count();
      assert.ok(cells < 800, `${cells} cells`);
      await panel.page.locator('.grid-scroller').evaluate((scroller) => scroller.scrollTo(20_000, 300));
      await eventually(async () => {
        const order = await panel.order();
        assert.ok(order.includes(many[115]!.id), order.join(' '));
        assert.ok(!order.includes(many[0]!.id));
      });
      await eventually(async () => {
        const scroller = (await panel.page.locator('.grid-scroller').boundingBox())!;
        const header = (await panel.page.locator(`.grid-head [data-column="${many[115]!.id}"]`).boundingBox())!;
        const name = (await panel.page.locator('.grid-body [role=rowheader]').nth(12).boundingBox())!;
        assert.ok(Math.abs(header.y - scroller.y) < 3, 'header at the top');
        assert.ok(Math.abs(name.x - scroller.x) < 3, 'names at the left');
      });
    },
    { width: 900 },
  );

  void page('reports messages that it does not know', async (panel) => {
    await panel.send([
      { method: 'compare/nonsense', params: {} },
      { method: 'compare/runs', params: { runs: [{ ...FOUR[0], metrics: { loss: 'low' } }] } },
    ]);
    await eventually(async () => {
      const reports = await panel.posted<{ message: string }>('compare/report');
      assert.equal(reports.length, 2);
      assert.match(reports[0]!.message, /unknown message "compare\/nonsense"/);
      assert.match(reports[1]!.message, /compare\/runs\.runs\[0\]\.metrics\.loss: expected a finite number/);
    });
  });
});
