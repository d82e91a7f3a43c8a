// Pictures of Compare Runs in three themes for docs/images: `npm run screenshots`. Real runs of the sample: two methods, two widths.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VSCodeServer } from './server';
import { Suite, until } from './suite';

const THEMES = [
  { name: 'dark', theme: 'Default Dark Modern' },
  { name: 'light', theme: 'Default Light Modern' },
  { name: 'high-contrast', theme: 'Default High Contrast' },
] as const;

/** Bits and method. */
const RUNS = [
  [2, 'gptq'],
  [2, 'lr-qat'],
  [3, 'gptq'],
  [3, 'lr-qat'],
] as const;

const folder = path.resolve(process.env['LRQAT_IMAGES'] ?? 'docs/images');
// Wide enough for table and picture beside each other.
const size = { width: 1600, height: 900 };

const suite = await Suite.start();
try {
  const workspace = suite.sampleWorkspace(60, { full: true, name: 'tiny-llama' });
  for (const [bits, method] of RUNS) {
    const changes = {
      name: `w${String(bits)}-${method}`,
      'quantization.weights.bits': bits,
      'quantization.method': method,
      'training.steps': 60,
      'evaluation.maxBatches': 4,
    };
    const args = Object.entries(changes).flatMap(([key, value]) => ['--set', `${key}=${String(value)}`]);
    const file = path.join(workspace, 'w2-rank32.lrqat.json');
    const trained = spawnSync(process.execPath, ['dist/cli.js', 'train', file, ...args], { stdio: 'inherit' });
    if (trained.status !== 0) throw new Error(`training ended with ${String(trained.status)}`);
  }
  for (const { name, theme } of THEMES) await picture(name, theme, workspace);
} finally {
  await suite.stop();
}

async function picture(name: string, theme: string, workspace: string): Promise<void> {
  const server = await VSCodeServer.start({
    server: process.env['LRQAT_VSCODE'] ?? '',
    vsix: process.env['LRQAT_VSIX'] ?? '',
    settings: { 'workbench.colorTheme': theme },
  });
  try {
    const window = await suite.open({ folder: workspace, size }, server);
    await window.activity('LR-QAT');
    await until(async () => (await window.tree(/ppl/).count()) === RUNS.length, 'all runs', 60_000);
    await window.command('LR-QAT: Compare Runs');
    await window.pickAll(RUNS.length);
    const frame = await window.webview('.grid-scroller [role=gridcell]');
    await frame.getByRole('checkbox', { name: 'Hide identical' }).click();
    await frame.locator('path.front').waitFor();
    // So that the whole of both is there.
    await window.command('View: Toggle Primary Side Bar Visibility');
    await window.page.mouse.move(900, 880);
    await sleep(1500);
    await window.screenshot(path.join(folder, `compare-${name}.png`));
    await window.close();
  } finally {
    await server.stop();
  }
}
