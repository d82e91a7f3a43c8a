// The engines of a run, configured by its choices.

import type { Engine, EngineConfig } from '../../native/binding/addon';
import { deviceLayout, resolveActivations } from '../experiment';
import { loadBase } from './base';
import { isCancelled, type PreparedRun } from './session';

/** The engine that trains (method rtn: that only evaluates), allocated exactly as planned. */
export function createEngine(run: PreparedRun): Engine {
  const { experiment, choices, addon } = run;
  return new addon.Engine({
    ...common(run),
    training: experiment.quantization.method !== 'rtn',
    microBatchSize: experiment.training.microBatchSize,
    sequenceLength: experiment.data.sequenceLength,
    activationCheckpointing: choices.activationCheckpointing,
    keptBlocks: choices.keptBlocks ?? 1,
    rebuiltWeights: choices.rebuiltWeights ?? 'rebuild',
    // Another engine, processor or library may need other scratch memory.
    plan: run.departures.length === 0 ? choices.plan : null,
  });
}

/** An engine for texts with sequences longer than those trained on, one at a time. */
export function createLongEngine(run: PreparedRun, sequenceLength: number): Engine {
  return new run.addon.Engine({
    ...common(run),
    training: false,
    microBatchSize: 1,
    sequenceLength,
    activationCheckpointing: 'none',
    plan: null,
  });
}

function common({ model, linears, choices, oneDnn, device, experiment }: PreparedRun) {
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
      modelFolder: model.folder,
      fileSystem,
      onProgress: (progress) => writer.update({ progress: { done: progress.done, total: progress.total } }),
    });
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
