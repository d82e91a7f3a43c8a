// The engine for what an export needs computed, on the kind of device that trained the run: elsewhere integers near a tie could flip.
import type { ActivationQuantization, Engine, LinearQuantization, TrainedFloats } from '../../../native/binding/addon';
import { deviceLayout } from '../../experiment';
import type { ModelShape, TensorSource } from '../../formats/model-shape';
import { askCuda, chooseGpu, findNative, loadAddon } from '../../launch';
import { deviceConfig, readChoices, requestInstructionSet, thisMachine } from '../choices';

export interface ExportEngineOptions {
  readonly runDirectory: string;
  readonly shape: ModelShape;
  readonly tensors: readonly TensorSource[];
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** Default: none is quantized. */
  readonly activations?: ActivationQuantization | null;
  /** Trained beside the linears, to be restored from a checkpoint; default: none. */
  readonly floats?: TrainedFloats | null;
  readonly microBatchSize: number;
  readonly sequenceLength: number;
  readonly signal: AbortSignal | null;
}

/** Makes an engine, hands it over and closes it. @throws AbortError after the signal */
export async function withExportEngine<T>(
  options: ExportEngineOptions,
  body: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { runDirectory, shape, tensors, linears, activations, microBatchSize, sequenceLength, signal } = options;
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
    model: shape,
    tensors,
    linears,
    activations: activations ?? null,
    trainedFloats: options.floats ?? null,
    compute,
    threads: choices?.threads ?? machine.availableCores,
    oneDnn,
    training: false,
    microBatchSize,
    sequenceLength,
    activationCheckpointing: 'none',
    seed: 0,
    plan: null,
  });
  const cancel = (): void => engine.cancel();
  signal?.addEventListener('abort', cancel);
  try {
    signal?.throwIfAborted();
    return await body(engine);
  } catch (error) {
    // An interrupted engine says Cancelled, whoever asked knows the signal.
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    await engine.close();
  }
}
