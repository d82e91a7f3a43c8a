// Runs of real models and our engine's view of them, for the tests in other programs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { resolveLinears, type ExperimentInput } from '../../src/experiment';
import type { HuggingFaceModel } from '../../src/formats';
import { runTrainer } from '../../src/trainer';
import { attachMerged, mergedFile } from '../../src/trainer/merge';
import { readExperiment } from '../../src/trainer/prepare';
import { goldenConfig, openAddon, shiftedTargets } from '../goldens/engine-runs';
import { newRun, shortExperiment } from '../trainer/sample-run';

/** Real models and texts that are not in the repository. */
export const SHARED_DATA = path.resolve('../shared/data');

export type Weights = NonNullable<NonNullable<ExperimentInput['quantization']>['weights']>;

/** A run of rounding to nearest: finished at once, and its scales are any float32 numbers, as trained ones are. */
export async function roundedRun(folder: string, model: string, text: string, weights: Weights): Promise<string> {
  const experiment = shortExperiment({
    model: { path: model },
    data: { train: [text], validation: [text], sequenceLength: 32 },
    quantization: { method: 'rtn', weights },
    evaluation: { everySteps: 0, maxBatches: 1, kinds: ['validation'] },
  });
  const run = await newRun(folder, experiment);
  assert.equal(await runTrainer(run), 'finished');
  return run;
}

/** Logits [tokens, vocabulary] of the merged weights by our engine in float32. */
export async function ourLogits(run: string, model: HuggingFaceModel, ids: Int32Array): Promise<Float32Array> {
  const linears = resolveLinears(await readExperiment(run), model.shape);
  const addon = openAddon();
  const batch = { sequences: 1, length: ids.length };
  const engine = new addon.Engine(
    goldenConfig(model.shape, [...model.tensors], batch, null, { training: false, linears }),
  );
  try {
    await engine.load();
    await attachMerged(engine, mergedFile(run), { shape: model.shape, linears, floats: null });
    return await engine.logits({ tokens: ids, targets: shiftedTargets(ids, ids.length) }, 'merged');
  } finally {
    await engine.close();
  }
}

export function proseOf(file: string): string {
  const text = readFileSync(file, 'utf8');
  if (!file.endsWith('.jsonl')) return text;
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { text: string }).text)
    .join('\n');
}

/** Rows of log-probabilities. */
export function logProbabilities(logits: Float32Array, width: number): Float64Array[] {
  return Array.from({ length: logits.length / width }, (_, t) => {
    const row = logits.subarray(t * width, (t + 1) * width);
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = row.reduce((a, b) => a + Math.exp(b - largest), 0);
    return Float64Array.from(row, (value) => value - largest - Math.log(sum));
  });
}
