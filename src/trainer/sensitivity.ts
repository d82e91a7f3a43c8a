// How much a model loses when one linear alone is rounded to nearest, for every linear and several bit-widths:
// `lrqat sensitivity`. All numbers are of the same tokens, so their differences have none of the noise of sampling.

import type { ComputeType, Engine } from '../../native/binding/addon';
import { UserError } from '../errors';
import { resolveLinears, type Experiment } from '../experiment';
import { linearSizes, uniformBitsPerWeight, type LinearOptions, type LinearSize } from '../experiment/mixed-bits';
import { tokenizeCorpus } from '../formats/tokenize-corpus';
import { microBatchFor, requirePositions } from './evaluate';
import { openSubject, type EvaluateProgress, type Subject } from './evaluation-subject';
import { evaluationText, type EvaluationText } from './evaluation-text';
import { measure } from './measure';
import { lossOf, type Measurement } from './progress';

export interface SensitivityOptions {
  /** Paths resolved. Its grid (granularity, range, scale format) and its exceptions are taken; its bits are not. */
  readonly experiment: Experiment;
  /** Absolute files and globs to measure on; default: the experiment's validation text. */
  readonly data?: readonly string[];
  /** Batches of about 2048 tokens. */
  readonly maxBatches: number;
  /** As of an experiment; default: the experiment's. */
  readonly device?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: EvaluateProgress) => void;
}

export interface Sensitivity {
  readonly modelFolder: string;
  readonly compute: ComputeType;
  readonly sequenceLength: number;
  /** Predicted tokens behind each number. */
  readonly tokens: number;
  /** Mean cross-entropy of the float model, nats a token. */
  readonly floatLoss: number;
  /** The same with all linears rounded to so many bits; bits a weight count the scales. */
  readonly uniform: readonly { readonly bits: number; readonly bitsPerWeight: number; readonly loss: number }[];
  /** Quantized linears in model order. */
  readonly linears: readonly LinearOptions[];
  readonly seconds: number;
}

/** @param widths bit-widths to try, ascending
 *  @throws UserError for what cannot be found or measured; AbortError after `signal` */
export async function measureSensitivity(
  options: SensitivityOptions,
  widths: readonly [number, ...number[]],
): Promise<Sensitivity> {
  const begun = performance.now();
  const first = await measureWidth(options, widths[0], 0, widths.length);
  const measured = [first];
  for (const [index, width] of widths.slice(1).entries()) {
    measured.push(await measureWidth(options, width, index + 1, widths.length));
  }
  const { modelFolder, compute, sequenceLength, floating, sizes } = first;
  const floatLoss = lossOf(floating);
  return {
    modelFolder,
    compute,
    sequenceLength,
    tokens: floating.tokens,
    floatLoss,
    uniform: measured.map(({ width, uniform }) => ({
      bits: width,
      bitsPerWeight: uniformBitsPerWeight(sizes, width),
      loss: lossOf(uniform),
    })),
    linears: sizes.map((size, index) => ({
      ...size,
      losses: new Map(measured.map(({ width, alone }) => [width, (alone[index] ?? NaN) - floatLoss])),
    })),
    seconds: (performance.now() - begun) / 1000,
  };
}

/** Mean cross-entropy of the model rounded to nearest with these bits by linear, nats a token. */
export async function measureMixture(options: SensitivityOptions, bits: ReadonlyMap<string, number>): Promise<number> {
  options.onProgress?.({ phase: 'the mixture', done: 0, total: 1 });
  return withRounded(
    options,
    (name) => bits.get(name),
    async (measureForm) => lossOf(await measureForm('round-to-nearest')),
  );
}

interface MeasuredWidth {
  readonly width: number;
  readonly modelFolder: string;
  readonly compute: ComputeType;
  readonly sequenceLength: number;
  readonly floating: Measurement;
  readonly uniform: Measurement;
  /** Mean loss with one linear rounded, in the order of `sizes`. */
  readonly alone: readonly number[];
  readonly sizes: readonly LinearSize[];
}

function measureWidth(
  options: SensitivityOptions,
  width: number,
  round: number,
  rounds: number,
): Promise<MeasuredWidth> {
  return withRounded(
    options,
    () => width,
    async (measureForm, { model, compute }, linears) => {
      const sizes = linearSizes({ shape: model.shape, linears });
      if (sizes.length === 0) {
        throw new UserError('NothingQuantized', `${options.experiment.name}: no linear is quantized`, {
          hint: 'quantization.layers leaves out all of them.',
        });
      }
      const floating = await measureForm('float');
      const uniform = await measureForm('round-to-nearest');
      const alone: number[] = [];
      for (const [index, { name }] of sizes.entries()) {
        options.onProgress?.({
          phase: `${String(width)} bits: ${name}`,
          done: round * sizes.length + index,
          total: rounds * sizes.length,
        });
        alone.push(lossOf(await measureForm('round-to-nearest', [name])));
      }
      const { sequenceLength } = options.experiment.data;
      return { width, modelFolder: model.folder, compute, sequenceLength, floating, uniform, alone, sizes };
    },
  );
}

type MeasureForm = (form: 'float' | 'round-to-nearest', only?: readonly string[]) => Promise<Measurement>;
type Linears = ReturnType<typeof resolveLinears>;

/** Opens the experiment's model with every quantized linear rounded to nearest, and the text.
 *  @param bitsOf width by linear; undefined: as the experiment says */
async function withRounded<Result>(
  options: SensitivityOptions,
  bitsOf: (name: string) => number | undefined,
  body: (measureForm: MeasureForm, subject: Subject, linears: Linears) => Promise<Result>,
): Promise<Result> {
  const { experiment, signal } = options;
  const { sequenceLength } = experiment.data;
  let linears: Linears = {};
  const subject = await openSubject({
    model: experiment.model.path,
    linears: (shape) => (linears = roundedLinears(resolveLinears(asRounded(experiment), shape), bitsOf)),
    device: options.device ?? experiment.device,
    ...(experiment.compute === 'auto' ? {} : { compute: experiment.compute }),
    ...(experiment.threads === 'auto' ? {} : { threads: experiment.threads }),
    ...(signal === undefined ? {} : { signal }),
  });
  requirePositions(sequenceLength, subject.model.shape.maxPositions);
  const text = await openText(options, subject);
  try {
    return await subject.withEngine(
      { sequenceLength, microBatchSize: microBatchFor(sequenceLength) },
      (engine: Engine) => {
        const measureForm: MeasureForm = (form, only) =>
          measure(engine, text, {
            form,
            ...(only === undefined ? {} : { only }),
            point: () => {
              signal?.throwIfAborted();
              return Promise.resolve();
            },
          });
        return body(measureForm, subject, linears);
      },
    );
  } finally {
    text.close();
  }
}

/** The experiment as one that only rounds: nothing to train around, no low-rank term. */
function asRounded(experiment: Experiment): Experiment {
  return { ...experiment, quantization: { ...experiment.quantization, method: 'rtn' } };
}

function roundedLinears(linears: Linears, bitsOf: (name: string) => number | undefined): Linears {
  return Object.fromEntries(
    Object.entries(linears).map(([name, linear]) => [
      name,
      linear === null ? null : { ...linear, bits: bitsOf(name) ?? linear.bits },
    ]),
  );
}

async function openText(
  { experiment, data, maxBatches, signal, onProgress }: SensitivityOptions,
  { model, tokenizer, cacheFolder }: Subject,
): Promise<EvaluationText & { close(): void }> {
  const { sequenceLength, packing, field, validation } = experiment.data;
  const files = data ?? validation;
  if (files.length === 0) {
    throw new UserError('NoText', `${experiment.name}: data.validation is empty`, {
      hint: 'Name a text to measure on with --data FILE.',
    });
  }
  const stream = await tokenizeCorpus({
    files,
    baseFolder: process.cwd(),
    tokenizer,
    packing,
    field,
    kind: 'text',
    cacheFolder,
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ bytesDone, bytesTotal }) =>
      onProgress?.({ phase: 'tokenizing', done: bytesDone, total: bytesTotal }),
  });
  try {
    const text = evaluationText({
      kind: 'validation',
      stream,
      sequenceLength,
      microBatch: microBatchFor(sequenceLength),
      maxBatches,
      modelVocabSize: model.shape.vocabSize,
    });
    return { ...text, close: () => stream.close() };
  } catch (error) {
    stream.close();
    throw error;
  }
}
