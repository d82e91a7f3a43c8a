// Tokenizer speed on one core: the native encoder against @huggingface/tokenizers, on the sample's tokenizer and, where the
// data folder is, on Llama 2's. Goal: 5 MB/s a core and more.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { openTokenizer, type TextTokenizer } from '../../src/formats';
import { findNative } from '../../src/launch';

export interface TokenizerSpeed {
  readonly tokenizer: string;
  readonly text: string;
  readonly megabytes: number;
  readonly tokens: number;
  /** MB/s: a first pass over the text, and a second one (all words known). */
  readonly native: { readonly first: number; readonly again: number };
  /** Of a part of the text; null: not measured. */
  readonly library: number | null;
}

/** The library needs seconds for this much. */
const LIBRARY_BYTES = 200_000;

export function measureTokenizer(
  native: TextTokenizer,
  library: TextTokenizer | null,
  text: string,
): Omit<TokenizerSpeed, 'tokenizer' | 'text'> {
  if (native.encoder === null) throw new Error(`not native: ${native.reason ?? ''}`);
  const bytes = Buffer.from(text, 'utf8');
  const { encoder } = native;
  let tokens = 0;
  const pass = (): number => {
    const start = performance.now();
    // In pieces of a megabyte, as the tokenization threads get them.
    tokens = 0;
    for (let begin = 0; begin < bytes.length;) {
      const window = bytes.subarray(begin, nextCharacter(bytes, Math.min(bytes.length, begin + (1 << 20))));
      const isLast = begin + window.length === bytes.length;
      const end = isLast ? window.length : encoder.lastSplit(window);
      if (end === 0) throw new Error('a megabyte without a split point');
      tokens += encoder.encodePart(window, 0, end, begin === 0).length;
      begin += end;
    }
    return bytes.length / 1e3 / (performance.now() - start);
  };
  const first = pass();
  const again = pass();
  return {
    megabytes: bytes.length / 1e6,
    tokens,
    native: { first, again },
    library: library === null ? null : librarySpeed(library, text),
  };
}

function librarySpeed(library: TextTokenizer, text: string): number {
  const part = text.slice(0, LIBRARY_BYTES);
  const start = performance.now();
  library.encode(part);
  return Buffer.byteLength(part) / 1e3 / (performance.now() - start);
}

function nextCharacter(bytes: Uint8Array, at: number): number {
  let end = at;
  while (end < bytes.length && ((bytes[end] ?? 0) & 0xc0) === 0x80) end++;
  return end;
}

export async function benchTokenizer(options: { readonly dataFolder?: string } = {}): Promise<TokenizerSpeed[]> {
  const data = path.resolve(options.dataFolder ?? '../shared/data');
  const addonFile = findNative().addon;
  const tokenizers = [
    { name: 'sample (byte-level, 4,096)', folder: 'samples/first-run/model' },
    { name: 'Llama 2 (metaspace, 32,000)', folder: path.join(data, 'tokenizers/llama2') },
  ];
  const texts = [
    { name: 'sample train.txt', file: 'samples/first-run/train.txt' },
    { name: 'WikiText-2 test', file: path.join(data, 'text/wikitext-2-raw/wiki.test.raw') },
    { name: 'C4 sample', file: path.join(data, 'text/c4/c4_sample.jsonl') },
  ];
  const results: TokenizerSpeed[] = [];
  console.log('\nTokenizer, one core, MB/s                              first    again  library   tokens/byte');
  for (const { name: tokenizer, folder } of tokenizers.filter((entry) => existsSync(entry.folder))) {
    const library = await openTokenizer(folder);
    for (const { name: text, file } of texts.filter((entry) => existsSync(entry.file))) {
      const native = await openTokenizer(folder, { addonFile });
      const speed = { tokenizer, text, ...measureTokenizer(native, library, readFileSync(file, 'utf8')) };
      results.push(speed);
      const cells = [speed.native.first, speed.native.again, speed.library ?? Number.NaN].map((value) =>
        value.toFixed(2).padStart(9),
      );
      console.log(
        `${`${tokenizer}, ${text}`.padEnd(52)}${cells.join('')}${(speed.tokens / speed.megabytes / 1e6).toFixed(3).padStart(14)}`,
      );
    }
  }
  return results;
}
