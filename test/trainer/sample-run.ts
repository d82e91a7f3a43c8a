// Short runs of the sample model with the real engine.

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseExperiment, resolvePaths, type Experiment, type ExperimentInput } from '../../src/experiment';
import { readHeader } from '../../src/formats';
import {
  checkpointDirectory,
  createRun,
  effectiveEvents,
  parseLayersLine,
  parseMetricsLine,
  readResult,
  readStatus,
  runPaths,
  type LayersEvent,
  type MetricsEvent,
  type RunResult,
  type RunStatus,
} from '../../src/runs';

const SAMPLE = 'samples/first-run';

export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-trainer-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder for all tests of a file, so that texts are tokenized once. */
export function sharedFolder(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-trainer-'));
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** A copy of the sample's model that a test may damage. */
export function copyOfModel(folder: string): string {
  const model = path.join(folder, 'model');
  cpSync(path.join(SAMPLE, 'model'), model, { recursive: true });
  return model;
}

/** Keys of a section replace those of the base; parsing checks them. */
export type Changes = Partial<Record<keyof ExperimentInput, object | string | number>>;

/** Twelve steps of a few thousand tokens: evaluated every 4, saved every 3. */
export function shortExperiment(changes: Changes = {}): Experiment {
  const base: ExperimentInput = {
    name: 'short',
    model: { path: 'model' },
    data: { train: ['validation.txt'], validation: ['validation.txt'], sequenceLength: 32 },
    quantization: { weights: { bits: 2, range: 'lp-3' }, lowRank: { rank: 4, alpha: 4 } },
    training: { steps: 12, batchSize: 4, microBatchSize: 2, learningRate: { lowRank: 1e-3, scales: 1e-4 } },
    evaluation: { everySteps: 4, maxBatches: 3, kinds: ['validation'] },
    checkpoint: { everySteps: 3, keep: 2 },
    compute: 'float32',
    threads: 2,
  };
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(changes)) {
    merged[key] = typeof value === 'object' ? { ...(merged[key] as object), ...value } : value;
  }
  const file = path.resolve(SAMPLE, 'short.lrqat.json');
  const { experiment, problems } = parseExperiment(JSON.stringify(merged), file);
  assert.ok(experiment, JSON.stringify(problems));
  return resolvePaths(experiment, file, {}, existsSync);
}

/** Before its first step it has three things to find: integers of GPTQ, ranges of activations, what the float model gives. */
export function withLongBeginning(changes: Changes = {}): Experiment {
  const { training, ...others } = changes;
  return shortExperiment({
    quantization: {
      weights: { bits: 2, range: 'mse', granularity: { group: 32 } },
      lowRank: { rank: 4, alpha: 4 },
      start: { integers: 'gptq' },
      gptq: { sequences: 8 },
      activations: { bits: 8, kvBits: 4, range: 'static', sequences: 4, learn: true },
    },
    training: { ...(training as object), distillation: { weight: 0.5, topK: 8 } },
    ...others,
  });
}

/** A new run in a folder of its own, which shares its token cache with the other runs of that folder. */
export async function newRun(folder: string, experiment: Experiment): Promise<string> {
  const run = await createRun({
    runsFolder: path.join(folder, '.lrqat', 'runs'),
    experiment,
    experimentFile: path.resolve(SAMPLE, 'short.lrqat.json'),
  });
  return run.directory;
}

export async function statusOf(run: string): Promise<RunStatus> {
  const status = await readStatus(run);
  assert.ok(status);
  return status;
}

export async function resultOf(run: string): Promise<RunResult> {
  const result = await readResult(run);
  assert.ok(result);
  return result;
}

export function metricsOf(run: string): MetricsEvent[] {
  return linesOf(runPaths(run).metrics).flatMap((line) => parseMetricsLine(line) ?? []);
}

export function layersOf(run: string): LayersEvent[] {
  return linesOf(runPaths(run).layers).flatMap((line) => parseLayersLine(line) ?? []);
}

function linesOf(file: string): string[] {
  return readFileSync(file, 'utf8').split('\n');
}

/** What two equal runs have in common: every number but those of time and memory. */
export function courseOf(run: string): unknown[] {
  const metrics = effectiveEvents(metricsOf(run)).flatMap((event): unknown[] => {
    switch (event.type) {
      case 'step': {
        const { step, loss, crossEntropy, divergence, learningRate, gradientNorm, tokens, skipped } = event;
        return [{ step, loss, crossEntropy, divergence, learningRate, gradientNorm, tokens, skipped }];
      }
      case 'eval': {
        const { step, kind, form, perplexity, loss, tokens } = event;
        return [{ step, kind, form, perplexity, loss, tokens }];
      }
      default:
        return [];
    }
  });
  const layers = effectiveEvents(layersOf(run)).filter((event) => event.type === 'layer');
  return [...metrics, ...layers];
}

export function stepsOf(run: string): number[] {
  return effectiveEvents(metricsOf(run)).flatMap((event) => (event.type === 'step' ? [event.step] : []));
}

/** Calls `action` once, when training has done `step` steps. */
export function atStep(step: number, action: () => void): (event: MetricsEvent) => void {
  let done = false;
  return (event) => {
    if (done || event.type !== 'step' || event.step !== step) return;
    done = true;
    action();
  };
}

/** Waits for a condition that another process or the trainer brings about. */
export async function until(condition: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const end = Date.now() + 120_000;
  while (Date.now() < end) {
    if (await condition()) return;
    await sleep(10);
  }
  assert.fail(`timed out: ${what}`);
}

/** Names of complete checkpoints. */
export function checkpointsOf(run: string): string[] {
  const folder = runPaths(run).checkpoints;
  return readdirSync(folder)
    .filter((name) => existsSync(path.join(folder, name, 'DONE')))
    .sort();
}

/** The two runs are one to the bit: course, last checkpoint, merged integers, result. */
export async function assertSameRun(run: string, reference: string): Promise<void> {
  assert.deepEqual(courseOf(run), courseOf(reference));
  const { step } = await statusOf(reference);
  for (const name of ['adapter.safetensors', 'optimizer.safetensors']) {
    const [one, other] = [run, reference].map((each) => readFileSync(path.join(checkpointDirectory(each, step), name)));
    assert.ok(one!.equals(other!), `${name} differs`);
  }
  const [one, other] = [run, reference].map((each) => readFileSync(path.join(each, 'merged.safetensors')));
  assert.ok(one!.equals(other!), 'merged.safetensors differs');
  assert.deepEqual((await resultOf(run)).evaluations, (await resultOf(reference)).evaluations);
}

/** Nothing that only a writer in mid-work has names like this. */
export function assertNothingHalfWritten(run: string): void {
  const names = readdirSync(run, { recursive: true }).map(String);
  // A trainer killed while it claimed the run leaves its claim, which a later one takes away once it is a minute old.
  assert.deepEqual(
    names.filter((name) => name.endsWith('.tmp') && !name.startsWith('.owner-')),
    [],
  );
  for (const name of names) {
    const step = /^checkpoints[\\/](step-\d+)$/.exec(name);
    if (step) assert.ok(existsSync(path.join(run, name, 'DONE')), `${name} without DONE`);
  }
}

/** Overwrites the first bf16 values of a tensor. */
export async function poke(model: string, tensor: string, bits: number, count = 1): Promise<void> {
  const file = path.join(model, 'model.safetensors');
  const { tensors } = await readHeader(file);
  const bytes = readFileSync(file);
  const { offset } = tensors.get(tensor)!;
  for (let i = 0; i < count; i++) bytes.writeUInt16LE(bits, offset + 2 * i);
  writeFileSync(file, bytes);
}

export const BF16_NAN = 0x7fc0;
