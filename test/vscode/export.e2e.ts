// Export Model… as a user does it: the list of formats, a place, a file on the disk that another reader opens.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gguf } from '@huggingface/gguf';
import { lrqat } from '../cli/support';
import { pictured, stopRuns, Suite, until } from './suite';
import { isDone, show } from './walkthrough-page';
import type { Window } from './window';

let suite: Suite;
let workspace: string;
let window: Window | undefined;

before(async () => {
  suite = await Suite.start();
  workspace = suite.sampleWorkspace(10);
  // Rounding alone is a run that a window can export after a second; its float32 scales make GGUF inexact and lr-qat exact.
  const file = path.join(workspace, 'w2-rank32.lrqat.json');
  const text = readFileSync(path.join(workspace, 'validation.txt'), 'utf8').slice(0, 4000);
  writeFileSync(path.join(workspace, 'validation.txt'), text);
  const experiment = readFileSync(file, 'utf8')
    .replace('"name": "w2-rank32"', '"name": "rounded"')
    .replace('"method": "lr-qat"', '"method": "rtn"');
  writeFileSync(path.join(workspace, 'rounded.lrqat.json'), experiment);
  const { code, stderr, stdout } = await lrqat([
    'train',
    path.join(workspace, 'rounded.lrqat.json'),
    '--runs',
    path.join(workspace, '.lrqat', 'runs'),
  ]);
  assert.equal(code, 0, stdout + stderr);
  window = await suite.open({ folder: workspace });
});
after(async () => {
  await stopRuns(workspace);
  await suite.stop();
});

const step = (name: string, body: (window: Window) => Promise<void>): void => {
  void test(name, { timeout: 240_000 }, () =>
    pictured(
      () => window,
      name,
      async () => {
        assert.ok(window !== undefined);
        await body(window);
      },
    ),
  );
};

/** Opens the list of formats from the menu of the finished run. */
async function formats(w: Window): Promise<void> {
  // A run without training has its time for a name, and nothing more.
  const row = w.tree(/^\d\d:\d\d:\d\d/).first();
  await w.menuOf(row, /^Export Model…$/);
  await w.quickPick().locator('.monaco-list-row').nth(4).waitFor();
}

step('the list says of every format whether it is exact, why not, how large it is, and who loads it', async (w) => {
  await w.activity('LR-QAT');
  await formats(w);
  const rows = await w.quickPick().locator('.monaco-list-row').allInnerTexts();
  const row = (name: string): string => rows.find((text) => text.trim().startsWith(name)) ?? assert.fail(rows.join());
  assert.match(row('gguf'), /not exact · Q4_0, Q2_K · [\d.]+ MiB · for llama\.cpp/);
  assert.match(row('gguf'), /scales are rounded to half precision \(fp16\) in \d+ tensors, by 0\.0\d+ % at most/);
  assert.match(row('huggingface'), /^huggingface\s*exact · F32 · [\d.]+ MiB · for transformers/);
  assert.match(row('compressed-tensors'), /not exact .* for vLLM/);
  assert.match(row('gptq'), /not exact .* for vLLM/);
  assert.match(row('lr-qat'), /^lr-qat\s*exact · 2 bits · [\d.]+ MiB · for programs of your own/);
  assert.match(row('lr-qat'), /Every weight that a reader decodes is the trained one/);
});

step('GGUF: the change of perplexity is measured, and the file is one that @huggingface/gguf reads', async (w) => {
  const out = path.join(suite.folder(), 'model.gguf');
  await w.pick(/^gguf/);
  await w.choosePath(out);
  await w.pick('Measure the change of perplexity, then export');
  await w
    .toast(/model\.gguf exported, [\d.]+ MiB\. Not exact: .*perplexity [\d.]+ → [\d.]+/)
    .waitFor({ timeout: 120_000 });
  const { metadata, tensorInfos } = await gguf(out, { allowLocalFile: true });
  assert.equal(metadata['general.architecture'], 'llama');
  assert.ok(tensorInfos.some(({ name }) => name === 'blk.0.ffn_up.weight'));
  const manifest = JSON.parse(readFileSync(`${out}.manifest.json`, 'utf8')) as Record<string, unknown>;
  const { before, after: exported } = manifest['perplexity'] as { before: number; after: number };
  assert.ok(before > 1 && Math.abs(exported / before - 1) < 0.01);
  assert.deepEqual(readdirSync(path.dirname(out)).sort(), [
    'model.gguf',
    'model.gguf.README.md',
    'model.gguf.manifest.json',
  ]);

  // A second time to the same place: the dialog asks, once. Without a yes everything stays.
  const created = (): unknown =>
    (JSON.parse(readFileSync(`${out}.manifest.json`, 'utf8')) as Record<string, unknown>)['created'];
  const first = created();
  const again = async (answer: 'OK' | 'Cancel'): Promise<void> => {
    await formats(w);
    await w.pick(/^gguf/);
    const box = w.quickPick();
    const input = box.locator('input[type=text]');
    const question = box.getByText('model.gguf already exists. Are you sure you want to overwrite it?');
    // The dialog writes the path that it starts with a moment after it has opened.
    await until(async () => {
      if ((await input.inputValue()).includes('/')) await input.fill(out);
      await sleep(500);
      return (await input.inputValue()) === out;
    }, 'the path in the dialog');
    await box.locator('.quick-input-action .monaco-button, .monaco-text-button').first().click();
    await question.waitFor();
    await box.getByRole('button', { name: answer }).click();
    await question.waitFor({ state: 'hidden' });
  };
  await again('Cancel');
  await w.page.keyboard.press('Escape');
  await w.quickPick().waitFor({ state: 'hidden' });
  assert.equal(created(), first);
  await again('OK');
  await w.pick('Export without measuring');
  await until(() => existsSync(`${out}.manifest.json`) && created() !== first, 'the new file');
});

step('an exact format is written at once, into a new folder', async (w) => {
  const out = path.join(suite.folder(), 'packed');
  await formats(w);
  await w.pick(/^lr-qat/);
  await w.choosePath(out);
  await w.toast(/packed exported, [\d.]+ MiB, exact\./).waitFor({ timeout: 120_000 });
  const manifest = JSON.parse(readFileSync(path.join(out, 'manifest.json'), 'utf8')) as Record<string, unknown>;
  assert.equal(manifest['exact'], true);
  assert.match(readFileSync(path.join(out, 'README.md'), 'utf8'), /Exact: every weight/);
  assert.ok(existsSync(path.join(out, 'model.safetensors')));
  // The walkthrough has seen it, and that the folder holds the sample.
  await show(w);
  await isDone(w, 'sample,export');
});
