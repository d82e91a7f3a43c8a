// Merging a checkpoint with the engine.
import type { ActivationQuantization, LinearQuantization, TrainedFloats } from '../../../native/binding/addon';
import { nodeFileSystem, type HuggingFaceModel } from '../../formats';
import type { Checkpoint } from '../../runs';
import { loadActivationRanges } from '../activation-ranges';
import { loadBase } from '../base';
import { readCheckpoint, restoreCheckpoint } from '../checkpoint';
import { writeMerged } from '../merge';
import { withExportEngine } from './export-engine';

export interface MergeCheckpointOptions {
  readonly runDirectory: string;
  readonly model: HuggingFaceModel;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly floats: TrainedFloats | null;
  readonly activations: ActivationQuantization | null;
  readonly checkpoint: Pick<Checkpoint, 'directory' | 'step'>;
  /** Gets what merged.safetensors of a finished run holds. */
  readonly file: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

export async function mergeCheckpoint(options: MergeCheckpointOptions): Promise<void> {
  const { runDirectory, model, linears, floats, file, signal = null } = options;
  const { shape, tensors } = model;
  const checkpoint = await readCheckpoint(options.checkpoint);
  const size = { microBatchSize: 1, sequenceLength: 16 };
  const { activations } = options;
  await withExportEngine(
    { runDirectory, shape, tensors, linears, floats, activations, ...size, signal },
    async (engine) => {
      await loadBase({
        engine,
        runDirectory,
        linears,
        model,
        fileSystem: null,
        onProgress: ({ done, total }) => options.onProgress?.('loading the model', done, total),
      });
      if ((activations?.staticRanges ?? null) !== null) await loadActivationRanges(engine, runDirectory);
      await restoreCheckpoint(engine, checkpoint, 'values');
      await writeMerged(
        nodeFileSystem,
        file,
        engine,
        { shape, linears, floats },
        {
          step: String(checkpoint.state.progress.step),
          base: checkpoint.state.baseDigest,
        },
      );
    },
  );
}
