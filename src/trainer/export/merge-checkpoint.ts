// Merging a checkpoint with the engine, on the kind of device that trained it: elsewhere integers near a tie could flip.
import type { LinearQuantization } from '../../../native/binding/addon';
import { deviceLayout } from '../../experiment';
import { nodeFileSystem, type HuggingFaceModel } from '../../formats';
import { askCuda, chooseGpu, findNative, loadAddon } from '../../launch';
import type { Checkpoint } from '../../runs';
import { loadBase } from '../base';
import { readCheckpoint, restoreCheckpoint } from '../checkpoint';
import { deviceConfig, readChoices, requestInstructionSet, thisMachine } from '../choices';
import { writeMerged } from '../merge';

export interface MergeCheckpointOptions {
  readonly runDirectory: string;
  readonly model: HuggingFaceModel;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly checkpoint: Pick<Checkpoint, 'directory' | 'step'>;
  /** Gets what merged.safetensors of a finished run holds. */
  readonly file: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

export async function mergeCheckpoint(options: MergeCheckpointOptions): Promise<void> {
  const { runDirectory, model, linears, file, signal } = options;
  const checkpoint = await readCheckpoint(options.checkpoint);
  const choices = await readChoices(runDirectory);
  if (choices !== null) requestInstructionSet(choices.isa);
  const native = findNative();
  const addon = loadAddon(native.addon);
  const oneDnn = choices !== null && choices.gemm === null ? null : native.oneDnn;
  const machine = thisMachine(addon.cpuInfo(oneDnn), askCuda(addon, native), addon.engineVersion);
  const device = deviceConfig(chooseGpu(choices === null || choices.device === 'cpu' ? 'cpu' : 'auto', machine.cuda));
  const compute = choices?.compute ?? 'float32';
  const engine = new addon.Engine({
    device,
    ...deviceLayout(device.type, compute),
    model: model.shape,
    tensors: model.tensors,
    linears,
    compute,
    threads: choices?.threads ?? machine.availableCores,
    oneDnn,
    training: false,
    microBatchSize: 1,
    sequenceLength: 16,
    activationCheckpointing: 'none',
    seed: 0,
    plan: null,
  });
  const cancel = (): void => engine.cancel();
  signal?.addEventListener('abort', cancel);
  try {
    signal?.throwIfAborted();
    await loadBase({
      engine,
      runDirectory,
      linears,
      modelFolder: model.folder,
      fileSystem: null,
      onProgress: ({ done, total }) => options.onProgress?.('loading the model', done, total),
    });
    await restoreCheckpoint(engine, checkpoint, 'values');
    await writeMerged(
      nodeFileSystem,
      file,
      engine,
      { shape: model.shape, linears },
      {
        step: String(checkpoint.state.progress.step),
        base: checkpoint.state.baseDigest,
      },
    );
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    await engine.close();
  }
}
