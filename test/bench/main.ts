// `npm run bench [-- --seconds N] [--only random|sample|sample-random-tokens|tokenizer|export|export-memory]`: what the engine reaches on this machine. Goals on two
// cores: training without checkpointing at 60 % or more of the GEMM ceiling at the step's own shapes, plan equal to allocation,
// 5 MB/s a core and more for byte-pair encoding, 300 MB/s for the export formats.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { ExperimentInput } from '../../src/experiment';
import type { ModelShape } from '../../src/formats/model-shape';
import { findNative, loadAddon } from '../../src/launch';
import { measureCase } from './engine-case';
import { benchExport } from './export';
import { benchExportMemory } from './export-memory';
import { writeRandomModel } from './random-model';
import { benchTokenizer } from './tokenizer';
import { llama } from '../experiment/shapes';

const random28M: ModelShape = {
  ...llama,
  hiddenSize: 512,
  intermediateSize: 1408,
  layers: 8,
  heads: 8,
  kvHeads: 4,
  headDim: 64,
  vocabSize: 8192,
  maxPositions: 2048,
  tiedEmbeddings: true,
};

const cases = ['random', 'sample', 'tokenizer', 'export'] as const;
/** Only on request: two gigabytes of temporary files. */
const EXPORT_MEMORY = 'export-memory';
/** Only on request: the sample's model as it was measured until 2026-11-28, on random tokens at a constant learning rate. */
const SAMPLE_RANDOM_TOKENS = 'sample-random-tokens';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '30' },
      only: { type: 'string', multiple: true, default: [...cases] },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new Error(`--seconds: '${values.seconds}' is not a positive number`);
  const known: readonly string[] = [...cases, SAMPLE_RANDOM_TOKENS, EXPORT_MEMORY];
  const unknown = values.only.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`--only: '${unknown.join(', ')}' is none of ${known.join(', ')}`);

  const files = findNative();
  const native = { addon: loadAddon(files.addon), oneDnn: files.oneDnn };
  console.log(
    `${os.cpus()[0]?.model ?? 'unknown processor'}, ${String(os.availableParallelism())} threads, ${process.platform}`,
  );

  if (values.only.includes('random')) {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'lrqat-bench-'));
    try {
      await writeRandomModel(folder, random28M);
      await measureCase(native, {
        title: '28M parameters, random: hidden 512, 8 layers, W4 per channel, rank 32, integer storage, 8 × 512 tokens',
        modelFolder: folder,
        text: null,
        seconds,
        experiment: JSON.stringify({
          model: { path: folder },
          data: { train: ['none.txt'], sequenceLength: 512 },
          quantization: {
            weights: { bits: 4, granularity: 'per-channel' },
            storage: 'integer',
            lowRank: { rank: 32 },
          },
          training: { batchSize: 8, microBatchSize: 8, activationCheckpointing: 'none' },
        } satisfies ExperimentInput),
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  for (const name of ['sample', SAMPLE_RANDOM_TOKENS]) {
    if (!values.only.includes(name)) continue;
    const file = 'samples/first-run/w2-rank32.lrqat.json';
    const text = name === 'sample' ? 'samples/first-run/train.txt' : null;
    await measureCase(native, {
      title: `the sample, ${file}, ${text === null ? 'random tokens' : `on ${text}`}`,
      modelFolder: 'samples/first-run/model',
      text,
      seconds,
      experiment: await readFile(file, 'utf8'),
    });
  }
  if (values.only.includes('tokenizer')) await benchTokenizer();
  if (values.only.includes('export')) await benchExport(random28M);
  if (values.only.includes(EXPORT_MEMORY)) await benchExportMemory();
}

await main();
