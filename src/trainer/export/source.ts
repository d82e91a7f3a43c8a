// What an export is made from: the model folder of a run and its merged integers and scales. A finished run has them in
// merged.safetensors; a checkpoint is merged by the engine first, into a scratch file.
import { existsSync } from 'node:fs';
import type { LinearQuantization, TrainedFloats } from '../../../native/binding/addon';
import { UserError } from '../../errors';
import { resolveActivations, resolveLinears, type Experiment } from '../../experiment';
import { trainedFloats } from '../../experiment/float-groups';
import { elementsOf, floatParameters } from '../../experiment/float-parameters';
import { quantizedLinears } from '../../experiment/quantized-linears';
import { openModel, resolveModelPath, SafetensorsFile, type HuggingFaceModel } from '../../formats';
import type { MergedModel } from '../../formats/merged-model';
import { packedLinear } from '../../formats/packed-linear';
import { packedRowBytes, type QuantizedTensor } from '../../formats/quantized-tensor';
import type { SafetensorsTensor } from '../../formats/safetensors-header';
import { listCheckpoints, type Checkpoint } from '../../runs';
import { mergedFile, withTrainedFloats } from '../merge';
import { readExperiment } from '../prepare';
import { mergeCheckpoint } from './merge-checkpoint';
import type { Scratch } from './scratch';

export interface ExportSource {
  readonly runDirectory: string;
  readonly experiment: Experiment;
  readonly model: HuggingFaceModel;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly merged: MergedModel;
  /** The merged integers and scales. */
  readonly mergedFile: string;
  /** Of the checkpoint that was merged; null: the run's own result. */
  readonly checkpointStep: number | null;
}

export interface OpenSourceOptions {
  /** Step of a checkpoint; default: the run's result, else its newest checkpoint. */
  readonly checkpoint?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

/** @throws UserError NothingToExport and all that opening a model, a run and a checkpoint can say */
export async function openSource(
  runDirectory: string,
  scratch: Scratch,
  options: OpenSourceOptions = {},
): Promise<ExportSource> {
  const experiment = await readExperiment(runDirectory);
  const model = await openModel(await resolveModelPath(experiment.model.path, runDirectory));
  const linears = resolveLinears(experiment, model.shape);
  const floats = trainedFloats(experiment, model.shape);
  const own = mergedFile(runDirectory);
  const checkpoint = await chooseCheckpoint(runDirectory, options.checkpoint, existsSync(own));
  let file = own;
  if (checkpoint !== null) {
    file = await scratch.path('merged.safetensors', mergedBytes(model, linears, floats), 'the merged checkpoint');
    const activations = resolveActivations(experiment);
    await mergeCheckpoint({ ...options, runDirectory, model, linears, floats, activations, checkpoint, file });
  }
  return {
    runDirectory,
    experiment,
    model,
    linears,
    merged: await openMerged(file, model, linears, floats),
    mergedFile: file,
    checkpointStep: checkpoint?.step ?? null,
  };
}

/** Of the packed integers and of what was trained beside the linears, which is nearly all of the file. */
function mergedBytes(
  { shape }: HuggingFaceModel,
  linears: Readonly<Record<string, LinearQuantization | null>>,
  floats: TrainedFloats | null,
): number {
  const beside = floatParameters(shape, floats).reduce((sum, one) => sum + 4 * elementsOf(one), 0);
  return quantizedLinears({ shape, linears }).reduce(
    (sum, { spec, outputs, inputs }) => sum + outputs * packedRowBytes(spec.bits, inputs),
    beside,
  );
}

/** null: the run's own merged integers. */
async function chooseCheckpoint(
  runDirectory: string,
  step: number | undefined,
  isMerged: boolean,
): Promise<Checkpoint | null> {
  if (step === undefined && isMerged) return null;
  const complete = (await listCheckpoints(runDirectory)).filter((checkpoint) => checkpoint.complete);
  const chosen = step === undefined ? complete.at(-1) : complete.find((checkpoint) => checkpoint.step === step);
  if (chosen !== undefined) return chosen;
  const steps = complete.map((checkpoint) => String(checkpoint.step)).join(', ');
  throw new UserError(
    'NothingToExport',
    step === undefined
      ? `${runDirectory}: neither finished nor with a checkpoint`
      : `${runDirectory}: no checkpoint of step ${String(step)}`,
    {
      hint:
        steps === '' ? 'A run can be exported from its first checkpoint on.' : `Its checkpoints are of steps ${steps}.`,
    },
  );
}

async function openMerged(
  file: string,
  model: HuggingFaceModel,
  linears: Readonly<Record<string, LinearQuantization | null>>,
  floats: TrainedFloats | null,
): Promise<MergedModel> {
  const opened = await SafetensorsFile.open(file);
  await opened.close();
  const place = (tensor: string): SafetensorsTensor & { readonly file: string } => ({ ...opened.info(tensor), file });
  const quantized = quantizedLinears({ shape: model.shape, linears }).map(
    ({ name, spec: { bits, groupSize, symmetric }, outputs, inputs }): [string, QuantizedTensor] => [
      name,
      packedLinear({ name, outputs, inputs, bits, groupSize, symmetric: symmetric !== false }, place),
    ],
  );
  const tensors = withTrainedFloats(model.tensors, { shape: model.shape, floats }, place);
  return { shape: model.shape, tensors, quantized: new Map(quantized) };
}
