// Pictures of the main screens in three themes for docs/images: `npm run screenshots`. Real training runs of the sample.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Form } from './form';
import { VSCodeServer } from './server';
import { Suite } from './suite';
import type { Window } from './window';

const THEMES = [
  { name: 'dark', theme: 'Default Dark Modern' },
  { name: 'light', theme: 'Default Light Modern' },
  { name: 'high-contrast', theme: 'Default High Contrast' },
] as const;

const folder = path.resolve(process.env['LRQAT_IMAGES'] ?? 'docs/images');
const size = { width: 1440, height: 900 };

const suite = await Suite.start();
try {
  const workspace = suite.sampleWorkspace(150, { full: true, name: 'tiny-llama' });
  const file = path.join(workspace, 'w2-rank32.lrqat.json');
  const sample = readFileSync(file, 'utf8');
  // Evaluated often, so that the pictures have a curve of perplexities.
  writeFileSync(file, sample.replace('"everySteps": 50, "maxBatches": 16', '"everySteps": 10, "maxBatches": 4'));
  // A second experiment with the mistakes that people make.
  writeFileSync(path.join(workspace, 'w4-group100.lrqat.json'), withMistakes(sample));
  writeFileSync(path.join(workspace, 'w2a8-distilled.lrqat.json'), withMore(sample));
  await trainTwice(workspace);
  for (const { name, theme } of THEMES) await pictures(name, theme, workspace);
} finally {
  await suite.stop();
}

function withMistakes(text: string): string {
  return text
    .replace('"name": "w2-rank32"', '"name": "w4-group100"')
    .replace('"granularity": "per-channel"', '"granularity": { "group": 100 }')
    .replace('"bits": 2', '"bits": 4')
    .replace('"learnScales": true', '"learnScale": true')
    .replace('"microBatchSize": 8', '"microBatchSize": 3');
}

/** What the form has controls of their own for: static ranges, a start of GPTQ, distillation, norms. */
function withMore(text: string): string {
  return text
    .replace('"name": "w2-rank32"', '"name": "w2a8-distilled"')
    .replace('"storage"', '"activations": { "bits": 8, "range": "static", "learn": true },\n    "storage"')
    .replace('"learnScales"', '"start": { "integers": "gptq" },\n    "learnScales"')
    .replace('"lowRank": 4e-3,', '"lowRank": 4e-3, "norms": 1e-4,')
    .replace('"schedule"', '"distillation": { "weight": 0.75 },\n    "schedule"');
}

/** One finished run with a star and a tag, one in training when the pictures are taken. */
async function trainTwice(workspace: string): Promise<void> {
  const window = await suite.open({ folder: workspace, size });
  await window.activity('LR-QAT');
  await window.command('LR-QAT: Start Training');
  await picked(window, 'w2-rank32');
  await window.tree(/of the gap/).waitFor({ timeout: 240_000 });
  await window.close();
}

/** The form of a file with a field at its top. */
async function formOf(window: Window, file: string, id: string, sign: string): Promise<void> {
  await window.openFile(file);
  await window.command('LR-QAT: Open Form');
  const form = await Form.of(window, `[data-field="${id}"]:has-text("${sign}")`);
  await form
    .field(id)
    .evaluate((row) => (row as unknown as { scrollIntoView(top: boolean): void }).scrollIntoView(true));
  await window.page.mouse.move(1100, 79, { steps: 4 });
  await sleep(1000);
}

async function picked(window: Window, text: string): Promise<void> {
  const row = window.quickPick().locator('.monaco-list-row', { hasText: text }).first();
  await row.waitFor();
  await sleep(300);
  await row.click();
}

async function pictures(name: string, theme: string, workspace: string): Promise<void> {
  const server = await VSCodeServer.start({
    server: process.env['LRQAT_VSCODE'] ?? '',
    vsix: process.env['LRQAT_VSIX'] ?? '',
    settings: { 'workbench.colorTheme': theme },
  });
  try {
    const window = await suite.open({ folder: workspace, size }, server);
    const shot = (screen: string): Promise<Buffer> => window.screenshot(path.join(folder, `${screen}-${name}.png`));
    await window.activity('LR-QAT');
    await window.command('LR-QAT: Start Training');
    await picked(window, 'w2-rank32');
    await window.status(/w2-rank32 [67]\d%/).waitFor({ timeout: 120_000 });
    await sleep(1000);
    await shot('live');
    await window.command('LR-QAT: Stop…');
    await window.dialog().getByRole('button', { name: 'Stop and Save' }).waitFor();
    await sleep(300);
    await shot('stop');
    await window.dialog().getByRole('button', { name: 'Stop and Save' }).click();
    await window
      .tree(/stopped/)
      .first()
      .waitFor({ timeout: 60_000 });
    await window.openFile('w4-group100.lrqat.json');
    await window.page.locator('.squiggly-error').first().waitFor();
    // First: VS Code gives up asking for code lenses when the text loses the focus.
    await window.page.locator('.codelens-decoration', { hasText: '3 errors' }).waitFor();
    await window.command('Problems: Focus on Problems View');
    await window.problem('did you mean').first().waitFor();
    // Over no row, whose hover would be in the picture.
    await window.page.mouse.move(1300, 830);
    await sleep(1500);
    await shot('problems');
    await window.command('View: Toggle Panel Visibility');
    await window.openFile('w2-rank32.lrqat.json');
    await window.page.locator('.codelens-decoration', { hasText: 'fits' }).waitFor();
    await window.page.keyboard.press('Control+Home');
    // Away from the tabs, whose hovers would be in the picture.
    await window.page.mouse.move(900, 700);
    await sleep(1500);
    await shot('experiment');
    await window.command('LR-QAT: Open Form');
    const form = await Form.of(window);
    await form.grid.waitFor();
    await form.field('quantization.weights.bits').scrollIntoViewIfNeeded();
    // Over nothing that has a hover of its own.
    await window.page.mouse.move(1100, 79, { steps: 4 });
    await sleep(1000);
    await shot('form');
    // What they show is the same in every theme.
    if (name === 'dark') {
      await formOf(window, 'w2a8-distilled.lrqat.json', 'quantization.activations', 'static ranges, learned');
      await shot('form-activations');
      await formOf(window, 'w2a8-distilled.lrqat.json', 'quantization.lowRank.alpha', 'alpha / rank');
      await shot('form-trained');
    }
    await window.page.locator('.tab', { hasText: 'w2-rank32 ·' }).first().click();
    await window.webview('[data-chart="loss"][data-points]');
    await sleep(1000);
    await window
      .tree(/of the gap/)
      .first()
      .hover();
    await window.page.locator('.monaco-hover', { hasText: 'On disk' }).first().waitFor();
    await sleep(300);
    await shot('tooltip');
    await window.openFile('w2-rank32.lrqat.json');
    await window.command('LR-QAT: Measure Sensitivity…');
    await window.answer('');
    await window.webview('td.h10', 240_000);
    await window.command('View: Hide Panel');
    await window.page.mouse.move(1100, 79, { steps: 4 });
    await sleep(1000);
    await shot('sensitivity');
    await window.close();
  } finally {
    await server.stop();
  }
}
