// Opens and checks everything a run reads, and makes its choices (or applies those of its first attempt). Nothing is looked
// for later: when the state becomes `running`, the run no longer depends on the folders of the program or the workspace.

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../errors';
import { isTrained, parseExperiment, resolveLinears, startOf, staticRangesOf, type Experiment } from '../experiment';
import { openModel, resolveModelPath, type HuggingFaceModel } from '../formats';
import { tokenizeCorpus } from '../formats/tokenize-corpus';
import type { TokenStream } from '../formats/token-stream';
import { openTokenizer, type TextTokenizer } from '../formats/tokenizer';
import { askCuda, findNative, loadAddon } from '../launch';
import { readStatus, runPaths } from '../runs';
import {
  departures,
  deviceOf,
  makeChoices,
  readChoices,
  requestInstructionSet,
  requireSameData,
  requireSameModel,
  thisMachine,
  writeChoices,
} from './choices';
import { TrainingData } from './data/training-data';
import { evaluationText, type EvaluationKind, type EvaluationText } from './evaluation-text';
import type { OwnedRun, PreparedRun } from './session';

export interface Prepared {
  readonly run: PreparedRun;
  /** null: the method does not train. */
  readonly data: TrainingData | null;
  /** The same data for the start to read from the beginning; null: it reads none. */
  readonly calibration: TrainingData | null;
  close(): void;
}

export async function prepare(owned: OwnedRun): Promise<Prepared> {
  const { directory, writer, fileSystem } = owned;
  const experiment = await readExperiment(directory);
  const stored = await readChoices(directory);
  if (stored !== null) requestInstructionSet(stored.isa);
  const native = findNative();
  const addon = loadAddon(native.addon);
  addon.installCrashLog(runPaths(directory).log);
  const oneDnn = stored !== null && stored.gemm === null ? null : native.oneDnn;
  const machine = thisMachine(addon.cpuInfo(oneDnn), askCuda(addon, native), addon.engineVersion);

  writer.update({ phase: 'opening the model' });
  const model = await openModel(await resolveModelPath(experiment.model.path, directory));
  const tokenizer = await openTokenizer(model.folder, { addonFile: native.addon });
  for (const warning of model.warnings) await writer.log(`model: ${warning}`);
  requireVocabulary(model, tokenizer);
  const streams = await openStreams(owned, experiment, tokenizer);
  const close = (): void => Object.values(streams).forEach((stream) => stream.close());
  try {
    const identities = Object.fromEntries(Object.entries(streams).map(([name, stream]) => [name, stream.identity]));
    if (stored !== null) requireSameData(stored, identities);
    const queued = (await readStatus(directory))?.queue?.device ?? null;
    const choices = stored ?? makeChoices({ experiment, shape: model.shape, machine, data: identities, queued });
    if (stored === null) await writeChoices(fileSystem, directory, choices);
    else requireSameModel(stored, model);
    const texts = evaluationTexts(experiment, model, streams);
    const { train } = streams;
    const trainingData = (isWanted: boolean): TrainingData | null =>
      train === undefined || !isWanted
        ? null
        : TrainingData.open({
            stream: train,
            sequenceLength: experiment.data.sequenceLength,
            seed: experiment.training.seed,
            modelVocabSize: model.shape.vocabSize,
          });
    const data = trainingData(isTrained(experiment));
    const calibration = trainingData(startOf(experiment)?.gptq === true);
    const isStatic = staticRangesOf(experiment) !== null;
    const fits = (text: EvaluationText): boolean => text.sequenceLength <= experiment.data.sequenceLength;
    const run: PreparedRun = {
      ...owned,
      experiment,
      model,
      linears: resolveLinears(experiment, model.shape),
      choices,
      departures: departures(choices, machine),
      addon,
      oneDnn: choices.gemm === null ? null : oneDnn,
      device: deviceOf(choices, machine),
      calibrationSequences: isStatic
        ? (count) => {
            const first = trainingData(true);
            if (first === null) throw new RangeError('static ranges without training text');
            return first.next(Math.min(count, first.sequences));
          }
        : null,
      corpusFiles: [...new Set(Object.values(streams).flatMap((stream) => stream.files))],
      texts: texts.filter(fits),
      longTexts: texts.filter((text) => !fits(text)),
    };
    return { run, data, calibration, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The run's frozen experiment, checked like any other. */
export async function readExperiment(runDirectory: string): Promise<Experiment> {
  const file = runPaths(runDirectory).experiment;
  const { experiment, problems } = parseExperiment(await readFile(file, 'utf8'), file);
  if (experiment !== undefined) return experiment;
  const first = problems.find((problem) => problem.severity === 'error');
  throw new UserError('InvalidExperiment', `${file}: ${first?.message ?? 'not a valid experiment'}`);
}

/** The engine would refuse such an id only when it comes. */
export function requireVocabulary(model: Pick<HuggingFaceModel, 'folder' | 'shape'>, tokenizer: TextTokenizer): void {
  if (tokenizer.vocabSize <= model.shape.vocabSize) return;
  throw new UserError(
    'VocabularyMismatch',
    `${model.folder}: tokenizer.json has ${String(tokenizer.vocabSize)} tokens, the model's vocabulary ${String(model.shape.vocabSize)}`,
    { hint: 'Use the tokenizer.json that belongs to this model.' },
  );
}

type Streams = Partial<Record<'train' | EvaluationKind, TokenStream>>;

async function openStreams(
  { directory, writer, desk }: OwnedRun,
  experiment: Experiment,
  tokenizer: TextTokenizer,
): Promise<Streams> {
  const { data, evaluation } = experiment;
  const open = (name: string, files: readonly string[], kind: 'text' | 'wikitext'): Promise<TokenStream> => {
    writer.update({ phase: `tokenizing: ${name}`, progress: null });
    return tokenizeCorpus({
      files,
      baseFolder: directory,
      tokenizer,
      packing: kind === 'wikitext' ? 'join' : data.packing,
      field: data.field,
      kind,
      cacheFolder: tokenCacheFolder(directory),
      signal: desk.signal,
      onProgress: ({ bytesDone, bytesTotal }) => writer.update({ progress: { done: bytesDone, total: bytesTotal } }),
    });
  };
  const streams: Streams = {};
  try {
    const isCalibrated = startOf(experiment)?.gptq === true || staticRangesOf(experiment) !== null;
    if (isTrained(experiment) || isCalibrated) streams.train = await open('data.train', data.train, 'text');
    if (evaluation.kinds.includes('validation') && data.validation.length > 0) {
      streams.validation = await open('data.validation', data.validation, 'text');
    }
    if (evaluation.kinds.includes('wikitext')) {
      streams.wikitext = await open('evaluation.wikitext.files', evaluation.wikitext.files, 'wikitext');
    }
  } catch (error) {
    Object.values(streams).forEach((stream) => stream.close());
    // A stop ends the tokenizing with an error of its own.
    if (desk.stopping !== null) await desk.point();
    throw error;
  }
  writer.update({ progress: null });
  return streams;
}

/** Beside the runs, so that all experiments of a project share it: `.lrqat/cache/tokens`. */
export function tokenCacheFolder(runDirectory: string): string {
  const runs = path.dirname(path.resolve(runDirectory));
  const home = path.dirname(runs);
  return path.basename(home) === '.lrqat' ? path.join(home, 'cache', 'tokens') : path.join(runs, '.cache', 'tokens');
}

function evaluationTexts(experiment: Experiment, { shape }: HuggingFaceModel, streams: Streams): EvaluationText[] {
  const { data, evaluation, training } = experiment;
  const text = (
    kind: EvaluationKind,
    stream: TokenStream | undefined,
    sequenceLength: number,
    maxBatches: number | null,
  ): EvaluationText[] => {
    if (stream === undefined) return [];
    // As many tokens as the engine that measures them takes at once.
    const fits = sequenceLength <= data.sequenceLength;
    const microBatch = fits ? Math.floor((training.microBatchSize * data.sequenceLength) / sequenceLength) : 1;
    const { vocabSize } = shape;
    return [evaluationText({ kind, stream, sequenceLength, microBatch, maxBatches, modelVocabSize: vocabSize })];
  };
  return [
    ...text('validation', streams.validation, data.sequenceLength, evaluation.maxBatches),
    ...text('wikitext', streams.wikitext, evaluation.wikitext.sequenceLength, null),
  ];
}
