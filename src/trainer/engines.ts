// The engines of a run, configured by its choices.

import type { Engine, EngineConfig } from '../../native/binding/addon';
import { deviceLayout, distillationOf, isTrained, resolveActivations, startOf } from '../experiment';
import { trainedFloats } from '../experiment/float-groups';
import { START_ENGINE, startCompute } from '../experiment/planner';
import { ensureActivationRanges } from './activation-ranges';
import { hasStoredBase, loadBase } from './base';
import type { Choices } from './choices';
import { isCancelled, type PreparedRun } from './session';

/** The engine that trains (or only evaluates, where nothing is trained), allocated exactly as planned. */
export function createEngine(run: PreparedRun): Engine {
  const { experiment, choices, addon } = run;
  return new addon.Engine({
    ...engineSettings(run),
    training: isTrained(experiment),
    microBatchSize: experiment.training.microBatchSize,
    sequenceLength: experiment.data.sequenceLength,
    activationCheckpointing: choices.activationCheckpointing,
    keptBlocks: choices.keptBlocks ?? 1,
    rebuiltWeights: choices.rebuiltWeights ?? 'rebuild',
    lanes: choices.lanes ?? 1,
    // Another engine, processor or library may need other scratch memory.
    plan: run.departures.length === 0 ? choices.plan : null,
  });
}

/** An engine for texts with sequences longer than those trained on, one at a time. */
export function createLongEngine(run: PreparedRun, sequenceLength: number): Engine {
  return new run.addon.Engine({
    ...engineSettings(run),
    training: false,
    microBatchSize: 1,
    sequenceLength,
    activationCheckpointing: 'none',
    plan: null,
  });
}

/** The engine that a start is found on: on the processor, whatever the device of the run. */
export function createStartEngine(run: PreparedRun): Engine {
  const { device, ...layout } = START_ENGINE;
  return new run.addon.Engine({
    ...engineSettings(run),
    ...layout,
    device: { type: device },
    compute: startCompute(run.choices),
    microBatchSize: run.experiment.training.microBatchSize,
    sequenceLength: run.experiment.data.sequenceLength,
    plan: null,
  });
}

/** What the engines of a run have in common. */
export function engineSettings({
  model,
  linears,
  choices,
  oneDnn,
  device,
  experiment,
}: Pick<PreparedRun, 'linears' | 'oneDnn' | 'device' | 'experiment'> & {
  readonly model: Pick<PreparedRun['model'], 'shape' | 'tensors'>;
  readonly choices: Pick<Choices, 'device' | 'compute' | 'embeddings' | 'optimizerState' | 'threads'>;
}) {
  const { compute, embeddings, optimizerState } = choices;
  const { residual, elementwise } = deviceLayout(choices.device, compute);
  return {
    device,
    residual,
    elementwise,
    embeddings,
    optimizerState,
    model: model.shape,
    tensors: model.tensors,
    linears,
    activations: resolveActivations(experiment),
    distillation: distillationOf(experiment),
    trainedFloats: trainedFloats(experiment, model.shape),
    compute,
    threads: choices.threads,
    oneDnn,
    seed: experiment.training.seed,
  } satisfies Partial<EngineConfig>;
}

/** Loads Φ0 and s0 into an engine and makes it the one that a stop interrupts.
 *  @returns their digest
 *  @throws StopRequested */
export async function loadEngine(run: PreparedRun, engine: Engine): Promise<string> {
  const { desk, writer, directory, linears, model, fileSystem } = run;
  desk.worksOn(engine);
  writer.update({ phase: 'loading the model' });
  try {
    const digest = await loadBase({
      engine,
      runDirectory: directory,
      linears,
      model,
      // What an engine finds that is there before the start is not the base of the run.
      fileSystem: startOf(run.experiment) === null || hasStoredBase(directory) ? fileSystem : null,
      onProgress: (progress) => writer.update({ progress: { done: progress.done, total: progress.total } }),
    });
    await ensureActivationRanges(run, engine);
    writer.update({ phase: null, progress: null });
    return digest;
  } catch (error) {
    if (isCancelled(error)) await desk.point();
    throw error;
  }
}

export async function closeEngine({ desk }: PreparedRun, engine: Engine): Promise<void> {
  desk.worksOn(null);
  await engine.close();
}
