// `npm run bench:gpu -- node [--model 7b] [--micro-batches 1,4] [--checkpointing none|block] [--steps 8]`: training steps on a GPU as
// the product makes them: planned by the planner, through the addon. Beside the time of each step as the engine's own thread sees
// it stands the one that JavaScript sees; the difference is what Node costs.

import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { formatBytes, parseExperiment, planRun, type ExperimentInput } from '../../src/experiment';
import { deviceLayout } from '../../src/experiment/planner';
import { totalBytes } from '../../src/experiment/memory-layout';
import { LINEAR_NAMES, linearSize, type ModelShape, type TensorSource } from '../../src/formats/model-shape';
import { askCuda, chooseGpu, findNative, loadAddon } from '../../src/launch';
import { llama13B, llama7B } from '../experiment/shapes';
import { line, median } from './engine-case';

const SHAPES: Readonly<Record<string, ModelShape>> = { '7b': llama7B, '13b': llama13B };
const SEQUENCE = 1024;

/** Random bf16 weights in one file; the layers share one layer's. */
function writeWeights(file: string, shape: ModelShape): TensorSource[] {
  const tensors: TensorSource[] = [];
  const pool = new Uint16Array(2 ** 22 + 12345);
  let state = 1;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const bits = new Float32Array(1);
  for (let i = 0; i < pool.length; i++) {
    // The sum of four uniform numbers is normal enough.
    bits[0] = 0.035 * (next() + next() + next() + next() - 2);
    pool[i] = (new Uint32Array(bits.buffer)[0] ?? 0) >>> 16;
  }
  const ones = new Uint16Array(shape.hiddenSize).fill(0x3f80);
  const out = openSync(file, 'wx');
  let size = 0;
  const append = (count: number, values: Uint16Array): number => {
    const offset = size;
    for (let done = 0; done < count; done += values.length)
      size += writeSync(out, values.subarray(0, Math.min(values.length, count - done)));
    return offset;
  };
  const add = (name: string, offset: number, ...extents: number[]): void => {
    const count = extents.reduce((product, extent) => product * extent, 1);
    tensors.push({ name, file, offset, bytes: 2 * count, dtype: 'BF16', shape: extents });
  };
  const { hiddenSize, vocabSize } = shape;
  const norm = append(hiddenSize, ones);
  add('model.embed_tokens.weight', append(vocabSize * hiddenSize, pool), vocabSize, hiddenSize);
  add('lm_head.weight', append(vocabSize * hiddenSize, pool), vocabSize, hiddenSize);
  add('model.norm.weight', norm, hiddenSize);
  const linears = LINEAR_NAMES.map((linear) => {
    const { outputs, inputs } = linearSize(shape, linear);
    return { linear, outputs, inputs, offset: append(outputs * inputs, pool) };
  });
  for (let layer = 0; layer < shape.layers; layer++) {
    const prefix = `model.layers.${String(layer)}`;
    add(`${prefix}.input_layernorm.weight`, norm, hiddenSize);
    add(`${prefix}.post_attention_layernorm.weight`, norm, hiddenSize);
    for (const { linear, outputs, inputs, offset } of linears)
      add(`${prefix}.${linear}.weight`, offset, outputs, inputs);
  }
  closeSync(out);
  return tensors;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: 'string', default: '7b' },
      'micro-batches': { type: 'string', default: '1,4' },
      checkpointing: { type: 'string', default: 'none' },
      steps: { type: 'string', default: '8' },
    },
  });
  const shape = SHAPES[values.model];
  if (shape === undefined) throw new Error(`--model ${values.model}: there are ${Object.keys(SHAPES).join(', ')}`);
  const files = findNative();
  const addon = loadAddon(files.addon);
  const gpu = chooseGpu('cuda', askCuda(addon, files));
  if (gpu === null) throw new Error('no GPU');
  const { name, computeCapability, index } = gpu.device;
  console.log(`${name}, compute capability ${computeCapability}, Node ${process.versions.node}`);

  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-bench-'));
  try {
    const tensors = writeWeights(path.join(folder, 'weights'), shape);
    for (const microBatchSize of values['micro-batches'].split(',').map(Number)) {
      const { experiment, problems } = parseExperiment(
        JSON.stringify({
          model: { path: folder },
          data: { train: ['none.txt'], sequenceLength: SEQUENCE },
          quantization: { weights: { bits: 4 }, storage: 'integer', lowRank: { rank: 32 } },
          training: {
            batchSize: microBatchSize,
            microBatchSize,
            activationCheckpointing: values.checkpointing as 'none' | 'block',
          },
          compute: 'bf16',
        } satisfies ExperimentInput),
        'bench.lrqat.json',
      );
      if (experiment === undefined) throw new Error(problems.map(({ message }) => message).join('\n'));
      const plan = planRun(experiment, shape, {
        totalMemory: gpu.device.freeBytes,
        cores: os.availableParallelism(),
        nativeBf16: true,
        device: 'cuda',
      });
      const engine = new addon.Engine({
        model: shape,
        tensors,
        linears: plan.linears,
        device: { type: 'cuda', index, library: gpu.library, cublasLt: gpu.cublasLt },
        ...deviceLayout('cuda', plan.compute),
        compute: plan.compute,
        embeddings: plan.embeddings,
        optimizerState: plan.optimizerState,
        threads: plan.threads,
        oneDnn: null,
        training: true,
        microBatchSize,
        sequenceLength: SEQUENCE,
        activationCheckpointing: plan.activationCheckpointing,
        keptBlocks: plan.keptBlocks,
        seed: experiment.training.seed,
        plan: plan.memory.parts,
      });
      try {
        await engine.load();
        const tokens = Int32Array.from({ length: microBatchSize * SEQUENCE }, (_, i) => (i * 7919) % shape.vocabSize);
        const targets = Int32Array.from(tokens, (_, i) => ((i + 1) % SEQUENCE === 0 ? -1 : (tokens[i + 1] ?? -1)));
        const { learningRate, beta1, beta2, epsilon, weightDecay, gradientClip } = experiment.training;
        const settings = { learningRate, beta1, beta2, epsilon, weightDecay, gradientClip };
        // Work is recorded in the third step.
        for (let step = 0; step < 4; step++) await engine.trainStep({ tokens, targets }, settings);
        const seen: number[] = [];
        const own: number[] = [];
        for (let step = 0; step < Number(values.steps); step++) {
          const start = performance.now();
          own.push((await engine.trainStep({ tokens, targets }, settings)).seconds);
          seen.push((performance.now() - start) / 1000);
        }
        const each = median(seen);
        const allocated = totalBytes(engine.memory());
        line(
          `${values.model}, micro-batch ${String(microBatchSize)}, ${values.checkpointing}`,
          ` ${(tokens.length / each).toFixed(0)} tokens/s; a step ${(1000 * each).toFixed(2)} ms, of these Node ${(1000 * (each - median(own))).toFixed(2)} ms; ` +
            `${formatBytes(allocated)} allocated, ${formatBytes(plan.memory.total)} planned` +
            (allocated === plan.memory.total ? '' : ' — PLAN AND ALLOCATION DIFFER'),
        );
      } finally {
        await engine.close();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
