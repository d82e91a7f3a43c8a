// Pictures of a sweep, the queue and the walkthrough in three themes for docs/images: `npm run screenshots`.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VSCodeServer } from './server';
import { stopRuns, Suite } from './suite';

const THEMES = [
  { name: 'dark', theme: 'Default Dark Modern' },
  { name: 'light', theme: 'Default Light Modern' },
  { name: 'high-contrast', theme: 'Default High Contrast' },
] as const;

const SWEEP = '"sweep": { "quantization.weights.bits": [2, 3, 4], "quantization.lowRank.rank": [8, 32] },';

const folder = path.resolve(process.env['LRQAT_IMAGES'] ?? 'docs/images');
const size = { width: 1440, height: 900 };

const suite = await Suite.start();
const workspace = suite.sampleWorkspace(0, { full: true, name: 'tiny-llama' });
try {
  const file = path.join(workspace, 'w2-rank32.lrqat.json');
  const sample = readFileSync(file, 'utf8');
  // Whatever the pictures take: the first run goes on, the others wait.
  const sweep = sample.replace('"steps": 150', '"steps": 20000').replace('"name": "w2-rank32"', '"name": "grid"');
  writeFileSync(path.join(workspace, 'grid.lrqat.json'), sweep.replace('"training": {', `${SWEEP}\n  "training": {`));
  for (const [index, { name, theme }] of THEMES.entries()) await pictures(name, theme, index === 0);
} finally {
  await stopRuns(workspace);
  await suite.stop();
}

async function pictures(name: string, theme: string, isFirst: boolean): Promise<void> {
  const server = await VSCodeServer.start({
    server: process.env['LRQAT_VSCODE'] ?? '',
    vsix: process.env['LRQAT_VSIX'] ?? '',
    settings: { 'workbench.colorTheme': theme, 'lrqat.openChartsOnStart': false },
  });
  try {
    const window = await suite.open({ folder: workspace, size }, server);
    const shot = (screen: string): Promise<Buffer> => window.screenshot(path.join(folder, `${screen}-${name}.png`));
    await window.activity('LR-QAT');
    await window.openFile('grid.lrqat.json');
    await window.page.locator('.codelens-decoration', { hasText: '6 runs' }).waitFor();
    await window.command('LR-QAT: Start Training');
    const dialog = window.dialog();
    await dialog.getByText('Queue the 6 runs of grid?').waitFor();
    await sleep(500);
    await shot('sweep');
    await dialog.getByRole('button', { name: isFirst ? 'Queue 6 Runs' : 'Cancel' }).click();
    await window.command('LR-QAT: Show Queue');
    await window
      .tree(/number 5/)
      .first()
      .waitFor({ timeout: 120_000 });
    await window
      .tree(/\d% · loss/)
      .first()
      .waitFor({ timeout: 120_000 });
    await window.page.mouse.move(900, 700);
    await sleep(1000);
    await shot('queue');
    await window.command('LR-QAT: Your First 2-Bit Model');
    await window.page.locator('[data-done-step-id$="#firstModel#compare"]').first().waitFor();
    // The steps that are done already are ticked off. Over nothing that has a hover of its own.
    await window.page.mouse.move(1300, 800);
    await sleep(3000);
    await shot('walkthrough');
    await window.close();
  } finally {
    await server.stop();
  }
}
