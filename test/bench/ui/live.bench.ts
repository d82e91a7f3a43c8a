// From a line that another process appends to metrics.jsonl to the pixels that show it, in a real VS Code with the packaged
// extension: watcher, reader, messages, page, canvas.
//   --lines N    lines to append (default 60)
//   --points N   steps that the run has already (default 1 000, and then 1 000 000)
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, cpSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import type { Browser, Frame, Locator } from 'playwright-core';
import { parseExperiment } from '../../../src/experiment';
import { createRun, takeOwnership } from '../../../src/runs';
import { runPaths } from '../../../src/runs/layout';
import { newStatus } from '../../../src/runs/status-file';
import { launchBrowser, VSCodeServer } from '../../vscode/server';
import { until } from '../../vscode/suite';
import { Window } from '../../vscode/window';
import { recordedRun } from '../../webview/browser/recorded';
import { report } from './report';

/** Milliseconds between lines: the pace of a trainer, and not that of any timer that looks at files. */
const PACE = 370;
const NAME = 'watched run';

/** The writer process: each loss above all before, so that every line moves the axis and changes pixels. */
const WRITER = `
const { appendFileSync } = require('node:fs');
const [file, event, points, lines] = process.argv.slice(1);
const template = JSON.parse(event);
let step = Number(points);
const last = step + Number(lines);
const timer = setInterval(() => {
  step++;
  const at = Date.now();
  const loss = 8 + 0.2 * (step - Number(points));
  appendFileSync(file, JSON.stringify({ ...template, step, time: at, loss }) + '\\n');
  console.log(JSON.stringify({ step, at }));
  if (step === last) clearInterval(timer);
}, ${String(PACE)});
`;

/** In the page: notes when the pixels of the loss chart differ from before, once the frame that drew them has been handed over. */
const WATCH_PIXELS = `(() => {
  const card = document.querySelector('[data-chart="loss"]');
  const canvas = card.querySelector('.plot-canvas canvas');
  const pixels = () => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    const words = new Uint32Array(data.buffer);
    for (let at = 0; at < words.length; at++) sum = (Math.imul(sum, 31) + words[at]) | 0;
    return sum;
  };
  window.benchSeen = [];
  let before = pixels();
  new MutationObserver(() => {
    const now = pixels();
    if (now === before) return;
    before = now;
    const step = Number(card.dataset.lastStep);
    requestAnimationFrame(() => window.benchSeen.push({ step, at: performance.timeOrigin + performance.now() }));
  }).observe(card, { attributes: true, attributeFilter: ['data-last-step'] });
})()`;

const lines = option('lines', [60])[0] ?? 0;

const scripts = (await import(path.resolve('scripts/vscode-tests.mjs'))) as {
  readonly prepare: () => Promise<{
    readonly LRQAT_VSCODE: string;
    readonly LRQAT_VSIX: string;
    readonly CHROMIUM: string;
  }>;
};
const { LRQAT_VSCODE, LRQAT_VSIX, CHROMIUM } = await scripts.prepare();
const [server, browser] = await Promise.all([
  VSCodeServer.start({ server: LRQAT_VSCODE, vsix: LRQAT_VSIX }),
  launchBrowser(CHROMIUM),
]);
try {
  for (const points of option('points', [1_000, 1_000_000])) await measure(browser, server, points);
} finally {
  await browser.close();
  await server.stop();
}

async function measure(chromium: Browser, vscode: VSCodeServer, points: number): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-live-'));
  try {
    const { directory, file } = await runningRun(folder, points);
    const window = await Window.open(chromium, vscode, { folder });
    await window.ready();
    await window.activity('LR-QAT');
    const row = window.tree(NAME).first();
    await row.waitFor({ timeout: 60_000 });
    const frame = await opened(window, row);
    const started = Date.now();
    await until(async () => (await lastStep(frame)) === points, 'the run is read', 300_000);
    await until(async () => (await frame.locator('[data-busy="true"]').count()) === 0, 'the run is drawn', 60_000);
    const load = os.loadavg()[0] ?? NaN;
    const reading = points >= 100_000 ? `, read in ${((Date.now() - started) / 1000).toFixed(1)} s` : '';
    console.log(
      `\n  a run of ${points.toLocaleString('en-US')} steps${reading}; load of the machine ${load.toFixed(1)}`,
    );
    await frame.evaluate(WATCH_PIXELS);
    const written = await append(file, points);
    await until(async () => (await lastStep(frame)) === points + lines, 'the last line is drawn', 60_000);
    const seen = await frame.evaluate<{ step: number; at: number }[]>('window.benchSeen');
    const delays = written.flatMap(({ step, at }) => {
      // Two lines may come in one frame.
      const frameOf = seen.find((each) => each.step >= step);
      return frameOf === undefined ? [] : [frameOf.at - at];
    });
    if (delays.length < lines) console.log(`  ${String(lines - delays.length)} lines changed no pixel`);
    report('line written to pixels changed', delays, [{ of: 'p95', limit: 400 }]);
    await window.close();
    rmSync(directory, { recursive: true, force: true });
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** The page of the charts. A tree that is just being redrawn loses a click. */
async function opened(window: Window, row: Locator): Promise<Frame> {
  for (let attempt = 1; ; attempt++) {
    await row.click();
    try {
      return await window.webview('[data-chart="loss"]', 30_000);
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

/** A workspace with a run in training, whose trainer is this process. */
async function runningRun(folder: string, points: number): Promise<{ directory: string; file: string }> {
  cpSync('samples/first-run', folder, { recursive: true, filter: (file) => path.basename(file) !== '.lrqat' });
  mkdirSync(path.join(folder, '.lrqat'));
  const experimentFile = path.join(folder, 'w2-rank32.lrqat.json');
  const { experiment } = parseExperiment(readFileSync(experimentFile, 'utf8'), experimentFile);
  if (experiment === undefined) throw new Error('the sample has problems');
  const { directory } = await createRun({
    runsFolder: path.join(folder, '.lrqat', 'runs'),
    experiment,
    experimentFile,
  });
  await takeOwnership(directory);
  const paths = runPaths(directory);
  const status = { ...newStatus('running', 2 * points, Date.now()), step: points, attempt: 1 };
  writeFileSync(paths.status, JSON.stringify(status));
  writeFileSync(path.join(directory, 'notes.json'), JSON.stringify({ name: NAME }));
  const recorded = recordedRun('w2-rank32').events.filter((event) => event.type === 'step');
  const out = createWriteStream(paths.metrics);
  const begin = Date.now() - 100 * points;
  out.write(`${JSON.stringify({ type: 'start', schema: 1, time: begin, run: NAME, totalSteps: 2 * points })}\n`);
  for (let step = 1; step <= points; step++) {
    const event = { ...recorded[step % recorded.length], step, time: begin + 100 * step };
    if (!out.write(`${JSON.stringify(event)}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
  return { directory, file: paths.metrics };
}

/** Has another process append lines, one at a time; when each was written (milliseconds since 1970). */
async function append(file: string, points: number): Promise<{ step: number; at: number }[]> {
  const event = recordedRun('w2-rank32').events.find((each) => each.type === 'step');
  const writer = spawn(process.execPath, ['-e', WRITER, file, JSON.stringify(event), String(points), String(lines)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const written: { step: number; at: number }[] = [];
  for await (const line of createInterface(writer.stdout)) {
    written.push(JSON.parse(line) as { step: number; at: number });
  }
  return written;
}

async function lastStep(frame: Frame): Promise<number> {
  return Number(await frame.locator('[data-chart="loss"]').first().getAttribute('data-last-step'));
}

function option(name: string, otherwise: readonly number[]): readonly number[] {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : [Number(process.argv[at + 1])];
}
