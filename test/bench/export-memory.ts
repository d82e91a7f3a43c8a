// Memory of exporting: a model of about a gigabyte of random weights, rounded to 4 bits, written in every format by the command line in
// a process of its own, whose resident memory is looked at every 20 ms. Linux only. Files are read, not mapped, so that what is
// resident is the process's own: pages of files that the system keeps cached count for nobody.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { ExperimentInput } from '../../src/experiment';
import { LINEAR_NAMES, linearSize, type ModelShape } from '../../src/formats/model-shape';
import { EXPORT_FORMATS } from '../../src/trainer/export/formats';
import { writeRandomModel } from './random-model';
import { llama } from '../experiment/shapes';

const shape: ModelShape = {
  ...llama,
  hiddenSize: 2048,
  intermediateSize: 5632,
  layers: 8,
  heads: 32,
  kvHeads: 8,
  headDim: 64,
  vocabSize: 32000,
  maxPositions: 2048,
};

const CASES: readonly (readonly [name: string, ...options: string[]])[] = [
  ['gguf, Q4_0', '--format', 'gguf', '--type', 'Q4_0'],
  ['gguf, Q8_0', '--format', 'gguf', '--type', 'Q8_0'],
  ['gguf, F16, embedding too', '--format', 'gguf', '--type', 'F16', '--float-type', 'F16'],
  ['huggingface, bf16', '--format', 'huggingface', '--type', 'bf16'],
  ['huggingface, fp32', '--format', 'huggingface', '--type', 'fp32'],
  ...EXPORT_FORMATS.filter((format) => format !== 'gguf' && format !== 'huggingface').map(
    (format): [string, ...string[]] => [format, '--format', format],
  ),
];

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1).padStart(7);

export async function benchExportMemory(): Promise<void> {
  if (process.platform !== 'linux') {
    console.log('\nmemory of the export: measured on Linux only');
    return;
  }
  const folder = await mkdtemp(path.join(os.tmpdir(), 'lrqat-bench-'));
  try {
    const model = path.join(folder, 'model');
    await writeRandomModel(model, shape);
    const run = await roundedRun(folder, model);
    const size = (await stat(path.join(model, 'model.safetensors'))).size;
    const weights = LINEAR_NAMES.map((name) => {
      const { outputs, inputs } = linearSize(shape, name);
      return outputs * inputs;
    });
    const largest = Math.max(...weights);
    const layer = weights.reduce((a, b) => a + b, 0);
    console.log(
      `\nmemory of the export: a model of ${mib(size).trim()} MiB in bf16, a layer ${mib(2 * layer).trim()} MiB (in 4 bits ${mib(layer / 2).trim()}), ` +
        `its largest linear ${mib(2 * largest).trim()} MiB (${mib(largest / 2).trim()}), the embedding ${mib(2 * shape.vocabSize * shape.hiddenSize).trim()} MiB`,
    );
    console.log(`  ${''.padEnd(28)} peak MiB  of which anonymous  written MiB  seconds`);
    const show = (name: string, measured: Measured, written: number): void =>
      console.log(
        `  ${name.padEnd(28)} ${mib(measured.peak).padStart(8)} ${mib(measured.anonymous).padStart(19)} ${mib(written).padStart(12)} ${measured.seconds.toFixed(1).padStart(8)}`,
      );
    show('only listing the formats', await measured(['export', run, '--json']), 0);
    for (const [name, ...options] of CASES) {
      const out = path.join(folder, 'out');
      const result = await measured(['export', run, '--out', out, '--no-measure', '--json', ...options]);
      show(name, result, result.written);
      await rm(out, { recursive: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A run that only rounds, by the command line itself. */
async function roundedRun(folder: string, model: string): Promise<string> {
  const text = path.join(folder, 'text.txt');
  await writeFile(text, (await readFile('samples/first-run/validation.txt', 'utf8')).slice(0, 2000));
  const experiment = {
    model: { path: model },
    data: { train: [text], validation: [text], sequenceLength: 32 },
    quantization: { method: 'rtn', weights: { bits: 4, granularity: 'per-channel', range: 'minmax' } },
    training: { batchSize: 1, microBatchSize: 1 },
    evaluation: { everySteps: 0, maxBatches: 1, kinds: ['validation'] },
    compute: 'float32',
  } satisfies ExperimentInput;
  const file = path.join(folder, 'rounded.lrqat.json');
  await writeFile(file, JSON.stringify(experiment));
  const runs = path.join(folder, 'runs');
  await measured(['train', file, '--runs', runs, '--foreground', '--json']);
  const { lines } = await measured(['list', '--runs', runs, '--json']);
  const found = /"directory":\s*"([^"]+)"/.exec(lines)?.[1];
  if (found === undefined) throw new Error(`no run: ${lines}`);
  return found;
}

interface Measured {
  /** Largest resident memory, of which anonymous (not backed by a file), bytes. */
  readonly peak: number;
  readonly anonymous: number;
  readonly seconds: number;
  readonly written: number;
  readonly lines: string;
}

async function measured(args: readonly string[]): Promise<Measured> {
  const begun = performance.now();
  const child = spawn(process.execPath, ['dist/cli.js', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let lines = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (lines += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  let [peak, anonymous] = [0, 0];
  const look = async (): Promise<void> => {
    const status = await readFile(`/proc/${String(child.pid)}/status`, 'latin1').catch(() => '');
    const bytes = (key: string): number => 1024 * Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    peak = Math.max(peak, bytes('VmHWM'));
    anonymous = Math.max(anonymous, bytes('RssAnon'));
  };
  const timer = setInterval(() => void look(), 20);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`lrqat ${args.join(' ')} ended with ${String(code)}: ${errors}${lines}`);
  const written = Number(/"bytes":(\d+),"seconds"/.exec(lines)?.[1] ?? 0);
  return { peak, anonymous, seconds: (performance.now() - begun) / 1000, written, lines };
}
