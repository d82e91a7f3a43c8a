// What `lrqat evaluate` measures: a model folder as it is or rounded to nearest, or a run in all the forms that it has.

import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type {
  ActivationQuantization,
  ComputeType,
  Engine,
  LinearQuantization,
  TrainedFloats,
  WeightForm,
} from '../../native/binding/addon';
import { UserError } from '../errors';
import {
  deviceLayout,
  isTrained,
  multipliesBf16,
  resolveActivations,
  resolveLinears,
  startOf,
  staticRangesOf,
} from '../experiment';
import { trainedFloats } from '../experiment/float-groups';
import {
  linearNames,
  nodeFileSystem,
  openModel,
  resolveModelPath,
  type HuggingFaceModel,
  type ModelShape,
} from '../formats';
import type { MergedModel } from '../formats/merged-model';
import { openPackedModel } from '../formats/packed-model';
import { openTokenizer, type TextTokenizer } from '../formats/tokenizer';
import { askCuda, chooseGpu, findNative, loadAddon } from '../launch';
import { hasActivationRanges, loadActivationRanges } from './activation-ranges';
import { hasStoredBase, loadBase } from './base';
import { newestCheckpoint, restoreCheckpoint, type ReadableCheckpoint } from './checkpoint';
import { decodeLinears } from './decoded-model';
import { removeAbandoned, Scratch } from './export/scratch';
import { deviceConfig, readChoices, requestInstructionSet, thisMachine } from './choices';
import { attachActivations, attachMerged, mergedFile } from './merge';
import { readExperiment, requireVocabulary, tokenCacheFolder } from './prepare';

export interface SubjectOptions {
  /** Default: all that there are. */
  readonly forms?: readonly WeightForm[];
  readonly threads?: number;
  readonly compute?: ComputeType;
  /** "auto", "cpu", "cuda" or "cuda:<index>"; default: a GPU where there is one, unless the run computed on the CPU. */
  readonly device?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: EvaluateProgress) => void;
}

/** Either of the two. */
export type SubjectOf = ModelSubject | { readonly run: string; readonly model?: undefined };

export interface ModelSubject {
  readonly model: string;
  readonly run?: undefined;
  /** Grids of linears that can be measured rounded to nearest as well, by full name; default: none. */
  readonly linears?: (shape: ModelShape) => Linears;
}

type Linears = Readonly<Record<string, LinearQuantization | null>>;

export interface EvaluateProgress {
  /** `tokenizing`, `loading the model`, `evaluating: trained`. */
  readonly phase: string;
  readonly done: number;
  readonly total: number;
}

/** Opened and checked, before anything large is loaded. */
export interface Subject {
  readonly model: EvaluatedModel;
  readonly tokenizer: TextTokenizer;
  /** The forms to measure. */
  readonly forms: readonly WeightForm[];
  /** Step of the checkpoint behind form `trained`; null: none. */
  readonly step: number | null;
  /** Tokens of a sequence, as the run was trained; of a model 2048 or all its positions. */
  readonly sequenceLength: number;
  readonly compute: ComputeType;
  readonly threads: number;
  readonly cacheFolder: string;
  /** Makes an engine for sequences of this length, loads it, hands it over and closes it. The signal of the options cancels it.
   *  @throws AbortError after the signal */
  withEngine<T>(size: EngineSize, body: (engine: Engine) => Promise<T>): Promise<T>;
}

export interface EngineSize {
  readonly sequenceLength: number;
  readonly microBatchSize: number;
}

export type EvaluatedModel = Pick<HuggingFaceModel, 'folder' | 'shape' | 'tensors'>;

/** What belongs to a run or to a model, before the options have their say. */
interface Material {
  readonly model: EvaluatedModel;
  /** An export in our own layout, to be decoded; null: `model` has all weights as they are. */
  readonly packed: MergedModel | null;
  readonly linears: Linears;
  /** Of every form but float; null: none. */
  readonly activations: ActivationQuantization | null;
  /** Trained beside the linears; null: nothing. */
  readonly floats: TrainedFloats | null;
  readonly available: readonly WeightForm[];
  readonly runDirectory: string | null;
  readonly checkpoint: ReadableCheckpoint | null;
  readonly sequenceLength: number;
  readonly compute: ComputeType | null;
  readonly threads: number | null;
  readonly device: 'auto' | 'cpu';
  readonly gemm: boolean;
  readonly cacheFolder: string;
}

/** @throws UserError for what cannot be found or has not such a form */
export async function openSubject(options: SubjectOptions & SubjectOf): Promise<Subject> {
  const { signal, onProgress } = options;
  const material = await (options.run === undefined ? modelMaterial(options) : runMaterial(options.run));
  const { model, linears, activations, available } = material;
  const forms = options.forms ?? available;
  const missing = forms.find((form) => !available.includes(form));
  if (missing !== undefined) {
    throw new UserError('FormUnavailable', `form "${missing}" cannot be measured here`, {
      hint: `Available: ${available.join(', ')}.`,
    });
  }
  const native = findNative();
  const addon = loadAddon(native.addon);
  const oneDnn = material.gemm ? native.oneDnn : null;
  const machine = thisMachine(addon.cpuInfo(oneDnn), askCuda(addon, native), addon.engineVersion);
  const device = deviceConfig(chooseGpu(options.device ?? material.device, machine.cuda));
  const nativeBf16 = device.type === 'cuda' || multipliesBf16(machine.cpu);
  const compute = options.compute ?? material.compute ?? (nativeBf16 ? 'bf16' : 'float32');
  const threads = options.threads ?? material.threads ?? machine.availableCores;
  const tokenizer = await openTokenizer(model.folder, { addonFile: native.addon });
  requireVocabulary(model, tokenizer);

  const withEngine: Subject['withEngine'] = async (size, body) => {
    let engine: Engine | null = null;
    const place = path.join(userCacheFolder(), 'lrqat', 'decoded');
    const scratch = new Scratch(place, { fileSystem: nodeFileSystem });
    const cancel = (): void => engine?.cancel();
    signal?.addEventListener('abort', cancel);
    try {
      let { tensors } = model;
      if (material.packed !== null) {
        await removeAbandoned(place, nodeFileSystem);
        tensors = await decodeLinears(material.packed, scratch, {
          signal: signal ?? null,
          onProgress: (done, total) => onProgress?.({ phase: 'decoding the model', done, total }),
        });
      }
      engine = new addon.Engine({
        device,
        ...deviceLayout(device.type, compute),
        model: model.shape,
        tensors,
        linears,
        activations,
        trainedFloats: material.floats,
        compute,
        threads,
        oneDnn,
        training: false,
        ...size,
        activationCheckpointing: 'none',
        seed: 0,
        plan: null,
      });
      await load(engine, material, onProgress);
      return await body(engine);
    } catch (error) {
      // An interrupted engine says Cancelled, whoever asked knows the signal.
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', cancel);
      await engine?.close();
      await scratch.remove();
    }
  };
  const step = material.checkpoint?.state.progress.step ?? null;
  const { sequenceLength, cacheFolder } = material;
  return {
    model,
    tokenizer,
    forms,
    step,
    sequenceLength,
    compute,
    threads,
    cacheFolder,
    withEngine,
  };
}

async function load(engine: Engine, material: Material, onProgress: SubjectOptions['onProgress']): Promise<void> {
  const { runDirectory, linears, model, checkpoint } = material;
  const report = ({ done, total }: { readonly done: number; readonly total: number }): void =>
    onProgress?.({ phase: 'loading the model', done, total });
  if (runDirectory === null) {
    await engine.load({ onProgress: report });
    return;
  }
  // Only the owner of a run writes into it.
  await loadBase({ engine, runDirectory, linears, model, fileSystem: null, onProgress: report });
  const isStatic = (material.activations?.staticRanges ?? null) !== null;
  if (isStatic && hasActivationRanges(runDirectory)) await loadActivationRanges(engine, runDirectory);
  if (checkpoint !== null) await restoreCheckpoint(engine, checkpoint, 'values');
  if (material.available.includes('merged')) {
    // With a checkpoint they are its own: form `trained` has them as well.
    if (isStatic && checkpoint === null) await attachActivations(engine, mergedFile(runDirectory));
    await attachMerged(engine, mergedFile(runDirectory), { shape: model.shape, linears, floats: material.floats });
  }
}

async function modelMaterial({ model: modelPath, linears }: ModelSubject): Promise<Material> {
  const folder = await resolveModelPath(modelPath, process.cwd());
  const packed = await openPackedModel(folder);
  const model = packed === null ? await openModel(folder) : { folder, shape: packed.shape, tensors: packed.tensors };
  return {
    model,
    packed,
    linears: linears?.(model.shape) ?? Object.fromEntries(linearNames(model.shape).map((name) => [name, null])),
    activations: null,
    floats: null,
    available: linears === undefined ? ['float'] : ['float', 'round-to-nearest'],
    runDirectory: null,
    checkpoint: null,
    sequenceLength: Math.min(2048, model.shape.maxPositions),
    compute: null,
    threads: null,
    device: 'auto',
    gemm: true,
    cacheFolder: path.join(userCacheFolder(), 'lrqat', 'tokens'),
  };
}

async function runMaterial(runDirectory: string): Promise<Material> {
  const experiment = await readExperiment(runDirectory);
  const choices = await readChoices(runDirectory);
  if (choices !== null) requestInstructionSet(choices.isa);
  const model = await openModel(await resolveModelPath(experiment.model.path, runDirectory));
  // Where another start has been found, the run's scales are not those of round-to-nearest.
  const started = startOf(experiment) !== null && hasStoredBase(runDirectory);
  // Before the ranges of static grids have been found there is only the float model.
  const isCalibrated = staticRangesOf(experiment) === null || hasActivationRanges(runDirectory);
  const checkpoint = isTrained(experiment) ? await newestCheckpoint(runDirectory, () => undefined) : null;
  return {
    model,
    packed: null,
    linears: resolveLinears(experiment, model.shape),
    activations: resolveActivations(experiment),
    floats: trainedFloats(experiment, model.shape),
    available: [
      'float',
      ...(started || !isCalibrated ? [] : (['round-to-nearest'] as const)),
      ...(checkpoint === null ? [] : (['trained'] as const)),
      ...(existsSync(mergedFile(runDirectory)) ? (['merged'] as const) : []),
    ],
    runDirectory,
    checkpoint,
    sequenceLength: experiment.data.sequenceLength,
    compute: choices?.compute ?? null,
    threads: choices?.threads ?? null,
    device: choices?.device === 'cpu' ? 'cpu' : 'auto',
    gemm: choices?.gemm !== null,
    cacheFolder: tokenCacheFolder(runDirectory),
  };
}

/** Where this user's programs keep what can be made again. */
function userCacheFolder(): string {
  const home = os.homedir();
  switch (process.platform) {
    case 'darwin':
      return path.join(home, 'Library', 'Caches');
    case 'win32':
      return process.env['LOCALAPPDATA'] ?? path.join(home, 'AppData', 'Local');
    default:
      return process.env['XDG_CACHE_HOME'] ?? path.join(home, '.cache');
  }
}
