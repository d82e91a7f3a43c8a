// The extension host's share: a thousand runs, diagnostics of a long file, activation in a real VS Code.
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { globSync } from 'tinyglobby';
import { buildTree, DEFAULT_TREE_OPTIONS } from '../../../src/editor/explorer/tree-model';
import { parseExperiment } from '../../../src/experiment';
import { READ_LIMIT } from '../../../src/editor/charts/read-limit';
import { RunReader, runPaths, RunStore } from '../../../src/runs';
import { newStatus } from '../../../src/runs/status-file';
import { RunFeed } from '../../../webview/charts/feed';
import { manyRuns } from '../../vscode/many-runs';
import { launchBrowser, VSCodeServer } from '../../vscode/server';
import { until } from '../../vscode/suite';
import { Window } from '../../vscode/window';

const RUNS = 1000;
const LINES = 2000;
/** As many as fill 2 GB. */
const LONG_STEPS = 6_000_000;
const LONG_BLOCK = 20_000;
const ROUNDS = 9;
const ACTIVATED = /activated in ([\d.]+) ms/;
const RUNS_LINE = /1000 runs in ([\d.]+) ms/;

const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-bench-'));
try {
  const workspace = path.join(folder, 'workspace');
  cpSync('samples/first-run', workspace, { recursive: true });
  const runsFolder = await manyRuns(workspace, RUNS);
  await openRuns(runsFolder);
  diagnose();
  await activate(workspace);
  // Last: gigabytes that are written and read leave no warm disk to what comes after.
  await readLongRun(path.join(folder, 'long'));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function openRuns(runsFolder: string): Promise<void> {
  const times: number[] = [];
  const again: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const store = new RunStore({ reconcileInterval: 0 });
    let start = performance.now();
    await store.setFolders([runsFolder]);
    const nodes = buildTree(store.entries, [], DEFAULT_TREE_OPTIONS);
    times.push(performance.now() - start);
    if (store.entries.length !== RUNS || nodes.length !== 1) throw new Error('runs are missing');
    start = performance.now();
    await store.reconcile();
    again.push(performance.now() - start);
    store.dispose();
  }
  report(`${String(RUNS)} runs on a warm disk: read and arranged`, times, 300);
  report(`${String(RUNS)} runs compared with what is known`, again, null);
}

function diagnose(): void {
  const layers = Array.from({ length: (LINES - 20) / 4 }, (_, index) =>
    [
      '    {',
      `      "match": "model.layers.${String(index)}.*",`,
      `      "bits": ${String(2 + (index % 7))}`,
      '    }',
    ].join('\n'),
  );
  const text = [
    '{',
    '  "model": { "path": "model" },',
    '  "data": { "train": ["train.txt"], "validation": ["validation.txt"] },',
    '  "training": { "steps": 100, "batchSize": 8, "microBatchSize": 3 },',
    '  "quantization": { "lowRank": { "rnk": 4 }, "layers": [',
    layers.join(',\n'),
    '  ] }',
    '}',
  ].join('\n');
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    const { problems } = parseExperiment(text, 'long.lrqat.json');
    times.push(performance.now() - start);
    if (problems.length < 2) throw new Error('problems are missing');
  }
  report(`diagnostics of a file of ${String(text.split('\n').length)} lines`, times, 50);
}

/** A metrics file of 2 GB as the charts' host reads it: piece by piece, with the event loop free in between. */
async function readLongRun(directory: string): Promise<void> {
  mkdirSync(directory);
  const paths = runPaths(directory);
  const status = { ...newStatus('stopped', LONG_STEPS, 1), step: LONG_STEPS };
  writeFileSync(paths.status, JSON.stringify(status));
  writeMetrics(paths.metrics);
  const bytes = statSync(paths.metrics).size;
  const reader = new RunReader(directory, { layers: true, limit: READ_LIMIT });
  const feed = new RunFeed('long');
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const start = performance.now();
  for (let more = true; more;) {
    const update = await reader.poll();
    feed.add(update);
    let pieces = 0;
    while (feed.delta().next().done !== true) pieces++;
    if (pieces > 100) throw new Error('one read makes few messages');
    more = update.bytes.done < update.bytes.total;
    await turn();
  }
  delay.disable();
  const seconds = (performance.now() - start) / 1000;
  const what = `${(bytes / 1e9).toFixed(1)} GB of metrics (${String(LONG_STEPS)} steps) read for charts`;
  console.log(
    `  ${what.padEnd(52)} ${seconds.toFixed(1)} s; event loop held p99 ${(delay.percentile(99) / 1e6).toFixed(0)} ms, ` +
      `at most ${(delay.max / 1e6).toFixed(0)} ms; ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB resident`,
  );
  rmSync(directory, { recursive: true });
}

/** Step lines of the length that a trainer writes, by blocks. */
function writeMetrics(file: string): void {
  const handle = openSync(file, 'w');
  try {
    for (let from = 1; from <= LONG_STEPS; from += LONG_BLOCK) {
      const lines: string[] = [];
      for (let step = from; step < from + LONG_BLOCK; step++) {
        const loss = 4 + Math.sin(step / 1000) + Math.random();
        lines.push(
          JSON.stringify({
            ...{ type: 'step', step, loss, learningRate: { lowRank: 1e-3 * Math.random(), scales: 1e-5 } },
            ...{ gradientNorm: Math.random(), tokens: step * 32768, tokensPerSecond: 18_000 * Math.random() },
            ...{ memory: { engine: 5_000_000_000, resident: 6_000_000_000 }, time: 1.8e12 + step * 1000 },
            ...{ skipped: false, note: 'x'.repeat(60) },
          }),
        );
      }
      writeSync(handle, `${lines.join('\n')}\n`);
    }
  } finally {
    closeSync(handle);
  }
}

/** What the extension itself logs about its start, in windows that are opened one after the other. */
async function activate(workspace: string): Promise<void> {
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
    for (let round = 1; round <= 6; round++) {
      const window = await Window.open(browser, server, { folder: workspace });
      await window.ready();
      await until(() => logged(server, ACTIVATED).length >= round && logged(server, RUNS_LINE).length >= round);
      // Later windows find what the first one has kept of the runs.
      const isKept = (): boolean => globSync(['**/runs.json'], { cwd: server.folder, dot: true }).length > 0;
      if (round === 1) await until(isKept);
      await window.close();
    }
    report(`activate() with ${String(RUNS)} runs, in VS Code`, logged(server, ACTIVATED), 50);
    const [first = NaN, ...later] = logged(server, RUNS_LINE);
    report(`${String(RUNS)} runs read after activation, in VS Code`, [first], 300);
    report('the same in windows that come later', later, 300);
  } finally {
    await browser.close();
    await server.stop();
  }
}

function logged({ folder: data }: VSCodeServer, pattern: RegExp): number[] {
  // Names of log folders begin with the time.
  const files = globSync(['**/*LR-QAT.log'], { cwd: data, absolute: true, dot: true }).sort();
  return files.flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const value = pattern.exec(line)?.[1];
        return value === undefined ? [] : [Number(value)];
      }),
  );
}

function report(what: string, times: readonly number[], budget: number | null): void {
  const sorted = [...times].sort((one, other) => one - other);
  const show = (value: number | undefined): string => (value ?? NaN).toFixed(1).padStart(7);
  const median = sorted[Math.floor(sorted.length / 2)];
  const limit = budget === null ? '' : `  (budget ${String(budget)} ms)`;
  console.log(`  ${what.padEnd(52)} median ${show(median)} ms, worst ${show(sorted.at(-1))} ms${limit}`);
}
