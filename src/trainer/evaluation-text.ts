// The texts that perplexity is measured on, by evaluation kind.

import type { TokenBatch } from '../../native/binding/addon';
import type { TokenStream } from '../formats/token-stream';
import { evaluationBatches, requireSequences } from './data/training-data';

export type EvaluationKind = 'validation' | 'wikitext';

export interface EvaluationText {
  readonly kind: EvaluationKind;
  /** Identity of its tokens. */
  readonly identity: string;
  readonly sequenceLength: number;
  /** Number of {@link batches}. */
  readonly batchCount: number;
  /** In the order of the text, each of at most one micro-batch, the same every time. */
  batches(): Iterable<TokenBatch>;
}

export interface EvaluationTextOptions {
  readonly kind: EvaluationKind;
  readonly stream: TokenStream;
  readonly sequenceLength: number;
  /** Sequences of a batch. */
  readonly microBatch: number;
  /** Batches at most; null: the whole text. */
  readonly maxBatches: number | null;
  readonly modelVocabSize: number;
}

/** @throws UserError CorpusTooShort: not one whole sequence; VocabularyMismatch */
export function evaluationText(options: EvaluationTextOptions): EvaluationText {
  const { kind, stream, sequenceLength, microBatch, maxBatches, modelVocabSize } = options;
  requireSequences(stream, sequenceLength, modelVocabSize);
  const all = Math.ceil(Math.floor(stream.count / sequenceLength) / microBatch);
  return {
    kind,
    identity: stream.identity,
    sequenceLength,
    batchCount: maxBatches === null ? all : Math.min(all, maxBatches),
    batches: () => evaluationBatches(stream, sequenceLength, maxBatches, microBatch, modelVocabSize),
  };
}
