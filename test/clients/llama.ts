// llama.cpp through node-llama-cpp, where `npm run test:clients` has installed it.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TextTokenizer } from '../../src/formats/tokenizer';
import { proseOf } from './support';

export const CLIENTS = path.resolve(process.env['LRQAT_CLIENTS'] ?? 'build/clients');
const CLIENT = path.join(CLIENTS, 'node_modules/node-llama-cpp/dist/index.js');
/** Why nothing can run; false: it can. */
export const noClient = existsSync(CLIENT) ? false : 'node-llama-cpp is not installed (npm run test:clients does it)';

/** The part of node-llama-cpp that is used here. */
export interface Llama {
  loadModel(options: object): Promise<LlamaModel>;
  dispose(): Promise<void>;
}
interface LlamaModel {
  tokenize(text: string, specialTokens: boolean): number[];
  detokenize(ids: readonly number[]): string;
  createContext(options: object): Promise<LlamaContext>;
  dispose(): Promise<void>;
}
interface LlamaContext {
  getSequence(): {
    controlledEvaluate(
      input: [number, { generateNext: { probabilities: true } }][],
    ): Promise<({ next: { probabilities?: Map<number, number> } } | undefined)[]>;
  };
  dispose(): Promise<void>;
}

export async function openLlama(): Promise<Llama> {
  const { getLlama } = (await import(pathToFileURL(CLIENT).href)) as {
    getLlama: (options: object) => Promise<Llama>;
  };
  return getLlama({ gpu: false, build: 'never', logLevel: 'error' });
}

/** Every text must have the same ids in llama.cpp, with the tokenizer of a GGUF file, and in ours. */
export async function sameTokens(
  t: { diagnostic(message: string): void },
  llama: Llama,
  file: string,
  tokenizer: TextTokenizer,
  samples: readonly string[],
): Promise<void> {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, vocabOnly: true });
  try {
    for (const sample of samples) {
      const ids = [...tokenizer.encode(sample, { addSpecialTokens: false })];
      assert.deepEqual([...model.tokenize(sample, false)], ids, JSON.stringify(sample));
    }
    t.diagnostic(`${String(samples.length)} texts have the same ids`);
  } finally {
    await model.dispose();
  }
}

/** 500 pieces of prose, and what breaks tokenizers. */
export function texts(file: string): string[] {
  const prose = proseOf(file);
  const pieces = Array.from({ length: 474 }, (_, i) => prose.slice(i * 211, i * 211 + 40 + ((i * 37) % 400)));
  const odd = [
    'a',
    ' ',
    '  ',
    ' a',
    'a ',
    '\n',
    '\n\n',
    ' \n',
    '\t\tx',
    "don't we'll I'VE",
    '1234567890',
    '3.14159e-10',
    'x=y;z(){}',
    'naïve café Ångström',
    '北京 日本語 한국어',
    'Привет, мир',
    'שלום',
    'مرحبا',
    '😀 👩‍👩‍👧 🇩🇪',
    'a\u0301e\u0308',
    '\u00a0\u2003|',
    '\u200b',
    '\ufeffA',
    '\n\n\ufeffThe  \ufeff end',
    'a\u0085b \u0085\u0085 c',
    '…—“”',

    '_'.repeat(40),
    ' '.repeat(40) + 'x',
    'word\r\nword',
    '¼½ ²³',
    'ﬁ',
  ];
  return [...pieces, ...odd];
}
