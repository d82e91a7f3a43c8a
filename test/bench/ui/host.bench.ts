// The extension host's share: a thousand runs, diagnostics of a long file, activation in a real VS Code.
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { globSync } from 'tinyglobby';
import { buildTree, DEFAULT_TREE_OPTIONS } from '../../../src/editor/explorer/tree-model';
import { parseExperiment } from '../../../src/experiment';
import { RunStore } from '../../../src/runs';
import { manyRuns } from '../../vscode/many-runs';
import { launchBrowser, VSCodeServer } from '../../vscode/server';
import { until } from '../../vscode/suite';
import { Window } from '../../vscode/window';

const RUNS = 1000;
const LINES = 2000;
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
    for (let round = 1; round <= 3; round++) {
      const window = await Window.open(browser, server, { folder: workspace });
      await window.ready();
      await until(() => logged(server, ACTIVATED).length >= round && logged(server, RUNS_LINE).length >= round);
      await window.close();
    }
    report(`activate() with ${String(RUNS)} runs, in VS Code`, logged(server, ACTIVATED), 50);
    report(`${String(RUNS)} runs read after activation, in VS Code`, logged(server, RUNS_LINE), 300);
  } finally {
    await browser.close();
    await server.stop();
  }
}

function logged({ folder: data }: VSCodeServer, pattern: RegExp): number[] {
  return globSync(['**/*LR-QAT.log'], { cwd: data, absolute: true, dot: true }).flatMap((file) =>
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
