// Perplexity of a model folder or of a run on any text, outside of training: `lrqat evaluate`.

import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ComputeType, Engine, LinearQuantization, WeightForm } from '../../native/binding/addon';
import { UserError } from '../errors';
import { deviceLayout, resolveLinears } from '../experiment';
import { linearNames, openModel, resolveModelPath, type HuggingFaceModel } from '../formats';
import { tokenizeCorpus, type TokenizeProgress } from '../formats/tokenize-corpus';
import { openTokenizer } from '../formats/tokenizer';
import { askCuda, chooseGpu, findNative, loadAddon } from '../launch';
import { loadBase } from './base';
import { newestCheckpoint, restoreCheckpoint, type ReadableCheckpoint } from './checkpoint';
import { deviceConfig, readChoices, requestInstructionSet, thisMachine } from './choices';
import { evaluationText } from './evaluation-text';
import { measure } from './measure';
import { attachMerged, mergedFile } from './merge';
import { readExperiment, requireVocabulary, tokenCacheFolder } from './prepare';
import { finiteOrNull, lossOf, perplexityOf } from './progress';

interface CommonOptions {
  /** Files and globs, relative to the current folder. */
  readonly data: readonly string[];
  /** Field of .jsonl, column of .parquet. */
  readonly field?: string;
  /** `wikitext`: every line of a .txt file is a document (the WikiText protocol). */
  readonly kind?: 'text' | 'wikitext';
  /** Tokens of a sequence; default: as the run was trained, of a model 2048 or all its positions. */
  readonly sequenceLength?: number;
  /** Default: all that there are. */
  readonly forms?: readonly WeightForm[];
  readonly threads?: number;
  readonly compute?: ComputeType;
  /** "auto", "cpu", "cuda" or "cuda:<index>"; default: a GPU where there is one, unless the run computed on the CPU. */
  readonly device?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: EvaluateProgress) => void;
}

export type EvaluateOptions = CommonOptions &
  ({ readonly model: string; readonly run?: undefined } | { readonly run: string; readonly model?: undefined });

export interface EvaluateProgress {
  /** `tokenizing`, `loading the model`, `evaluating: trained`. */
  readonly phase: string;
  readonly done: number;
  readonly total: number;
}

export interface EvaluatedForm {
  readonly form: WeightForm;
  /** null: not finite. */
  readonly perplexity: number | null;
  /** Mean cross-entropy, nats a token. */
  readonly loss: number | null;
  /** Predicted tokens. */
  readonly tokens: number;
  readonly seconds: number;
}

export interface Evaluation {
  readonly modelFolder: string;
  /** Step of the checkpoint behind form `trained`; null: none. */
  readonly step: number | null;
  readonly sequenceLength: number;
  readonly compute: ComputeType;
  readonly threads: number;
  readonly forms: readonly EvaluatedForm[];
}

/** What is evaluated, before anything large is opened. */
interface Subject {
  readonly model: HuggingFaceModel;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
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

/** @throws UserError for what cannot be found or measured; AbortError after `signal` */
export async function evaluateModel(options: EvaluateOptions): Promise<Evaluation> {
  const { signal, onProgress } = options;
  const subject = await (options.run === undefined ? modelSubject(options.model) : runSubject(options.run));
  const { model, linears, available } = subject;
  const forms = options.forms ?? available;
  const missing = forms.find((form) => !available.includes(form));
  if (missing !== undefined) {
    throw new UserError('FormUnavailable', `form "${missing}" cannot be measured here`, {
      hint: `Available: ${available.join(', ')}.`,
    });
  }
  const native = findNative();
  const addon = loadAddon(native.addon);
  const oneDnn = subject.gemm ? native.oneDnn : null;
  const machine = thisMachine(addon.cpuInfo(oneDnn), askCuda(addon, native), addon.engineVersion);
  const device = deviceConfig(chooseGpu(options.device ?? subject.device, machine.cuda));
  const nativeBf16 = device.type === 'cuda' || (machine.cpu.bf16 !== 'none' && machine.cpu.gemm !== null);
  const compute = options.compute ?? subject.compute ?? (nativeBf16 ? 'bf16' : 'float32');
  const threads = options.threads ?? subject.threads ?? machine.availableCores;
  const sequenceLength = options.sequenceLength ?? subject.sequenceLength;
  if (sequenceLength > model.shape.maxPositions) {
    throw new UserError(
      'SequenceTooLong',
      `sequence length ${String(sequenceLength)}: the model was made for ${String(model.shape.maxPositions)} positions`,
    );
  }

  const tokenizer = await openTokenizer(model.folder, { addonFile: native.addon });
  requireVocabulary(model, tokenizer);
  const stream = await tokenizeCorpus({
    files: options.data,
    baseFolder: process.cwd(),
    tokenizer,
    packing: 'join',
    kind: options.kind ?? 'text',
    cacheFolder: subject.cacheFolder,
    ...(options.field === undefined ? {} : { field: options.field }),
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ bytesDone, bytesTotal }: TokenizeProgress) =>
      onProgress?.({ phase: 'tokenizing', done: bytesDone, total: bytesTotal }),
  });
  const microBatch = Math.max(1, Math.floor(2048 / sequenceLength));
  let engine: Engine | null = null;
  const cancel = (): void => engine?.cancel();
  signal?.addEventListener('abort', cancel);
  try {
    const text = evaluationText({
      kind: options.kind === 'wikitext' ? 'wikitext' : 'validation',
      stream,
      sequenceLength,
      microBatch,
      maxBatches: null,
      modelVocabSize: model.shape.vocabSize,
    });
    engine = new addon.Engine({
      device,
      ...deviceLayout(device.type, compute),
      model: model.shape,
      tensors: model.tensors,
      linears,
      compute,
      threads,
      oneDnn,
      training: false,
      microBatchSize: microBatch,
      sequenceLength,
      activationCheckpointing: 'none',
      seed: 0,
      plan: null,
    });
    await load(engine, subject, onProgress);
    const results: EvaluatedForm[] = [];
    for (const form of forms) {
      const begun = performance.now();
      const measurement = await measure(engine, text, {
        form,
        point: () => {
          signal?.throwIfAborted();
          return Promise.resolve();
        },
        onProgress: (done, total) => onProgress?.({ phase: `evaluating: ${form}`, done, total }),
      });
      results.push({
        form,
        perplexity: perplexityOf(measurement),
        loss: finiteOrNull(lossOf(measurement)),
        tokens: measurement.tokens,
        seconds: (performance.now() - begun) / 1000,
      });
    }
    const step = subject.checkpoint?.state.progress.step ?? null;
    return { modelFolder: model.folder, step, sequenceLength, compute, threads, forms: results };
  } catch (error) {
    // An interrupted engine says Cancelled, whoever asked knows the signal.
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    await engine?.close();
    stream.close();
  }
}

async function load(engine: Engine, subject: Subject, onProgress: EvaluateOptions['onProgress']): Promise<void> {
  const { runDirectory, linears, model, checkpoint } = subject;
  const report = ({ done, total }: { readonly done: number; readonly total: number }): void =>
    onProgress?.({ phase: 'loading the model', done, total });
  if (runDirectory === null) {
    await engine.load({ onProgress: report });
    return;
  }
  // Only the owner of a run writes into it.
  await loadBase({ engine, runDirectory, linears, modelFolder: model.folder, fileSystem: null, onProgress: report });
  if (checkpoint !== null) await restoreCheckpoint(engine, checkpoint, 'values');
  if (subject.available.includes('merged')) {
    await attachMerged(engine, mergedFile(runDirectory), { shape: model.shape, linears });
  }
}

async function modelSubject(modelPath: string): Promise<Subject> {
  const model = await openModel(await resolveModelPath(modelPath, process.cwd()));
  return {
    model,
    linears: Object.fromEntries(linearNames(model.shape).map((name) => [name, null])),
    available: ['float'],
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

async function runSubject(runDirectory: string): Promise<Subject> {
  const experiment = await readExperiment(runDirectory);
  const choices = await readChoices(runDirectory);
  if (choices !== null) requestInstructionSet(choices.isa);
  const model = await openModel(await resolveModelPath(experiment.model.path, runDirectory));
  const trains = experiment.quantization.method !== 'rtn';
  const checkpoint = trains ? await newestCheckpoint(runDirectory, () => undefined) : null;
  return {
    model,
    linears: resolveLinears(experiment, model.shape),
    available: [
      'float',
      'round-to-nearest',
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
