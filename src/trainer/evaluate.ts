// Perplexity of a model folder or of a run on any text, outside of training: `lrqat evaluate --data`.

import type { ComputeType, WeightForm } from '../../native/binding/addon';
import { UserError } from '../errors';
import { tokenizeCorpus, type TokenizeProgress } from '../formats/tokenize-corpus';
import { openSubject, type SubjectOf, type SubjectOptions } from './evaluation-subject';
import { evaluationText } from './evaluation-text';
import { measure } from './measure';
import { finiteOrNull, lossOf, perplexityOf, type Measurement } from './progress';

export type { EvaluateProgress } from './evaluation-subject';

export type EvaluateOptions = SubjectOf &
  SubjectOptions & {
    /** Files and globs, relative to the current folder. */
    readonly data: readonly string[];
    /** Field of .jsonl, column of .parquet. */
    readonly field?: string;
    /** `wikitext`: every line of a .txt file is a document (the WikiText protocol). */
    readonly kind?: 'text' | 'wikitext';
    /** Tokens of a sequence; default: as the run was trained, of a model 2048 or all its positions. */
    readonly sequenceLength?: number;
  };

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

/** @throws UserError for what cannot be found or measured; AbortError after `signal` */
export async function evaluateModel(options: EvaluateOptions): Promise<Evaluation> {
  const { signal, onProgress } = options;
  const subject = await openSubject(options);
  const { model, tokenizer, step, compute, threads } = subject;
  const sequenceLength = options.sequenceLength ?? subject.sequenceLength;
  requirePositions(sequenceLength, model.shape.maxPositions);
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
  const microBatch = microBatchFor(sequenceLength);
  try {
    const text = evaluationText({
      kind: options.kind === 'wikitext' ? 'wikitext' : 'validation',
      stream,
      sequenceLength,
      microBatch,
      maxBatches: null,
      modelVocabSize: model.shape.vocabSize,
    });
    const forms = await subject.withEngine({ sequenceLength, microBatchSize: microBatch }, async (engine) => {
      const results: EvaluatedForm[] = [];
      for (const form of subject.forms) {
        const begun = performance.now();
        const measurement = await measure(engine, text, {
          form,
          point: () => {
            signal?.throwIfAborted();
            return Promise.resolve();
          },
          onProgress: (done, total) => onProgress?.({ phase: `evaluating: ${form}`, done, total }),
        });
        if (form === 'float') requireFinite(measurement, model.folder);
        results.push({
          form,
          perplexity: perplexityOf(measurement),
          loss: finiteOrNull(lossOf(measurement)),
          tokens: measurement.tokens,
          seconds: (performance.now() - begun) / 1000,
        });
      }
      return results;
    });
    return { modelFolder: model.folder, step, sequenceLength, compute, threads, forms };
  } finally {
    stream.close();
  }
}

/** A trained or rounded model may have gone astray, and its other forms say so; with its own weights it must not.
 *  @throws UserError NotFinite */
function requireFinite(measurement: Measurement, folder: string): void {
  if (Number.isFinite(lossOf(measurement))) return;
  throw new UserError('NotFinite', `${folder}: the loss of the model with its own weights is not a finite number`, {
    hint: 'The weights hold NaN or infinity, or overflow: the checkpoint is damaged or was saved from a diverged run.',
  });
}

/** @throws UserError SequenceTooLong */
export function requirePositions(sequenceLength: number, maxPositions: number): void {
  if (sequenceLength <= maxPositions) return;
  throw new UserError(
    'SequenceTooLong',
    `sequence length ${String(sequenceLength)}: the model was made for ${String(maxPositions)} positions`,
  );
}

/** Sequences of a micro-batch: about 2048 tokens keep the matrix products busy. */
export const microBatchFor = (sequenceLength: number): number => Math.max(1, Math.floor(2048 / sequenceLength));
