// The order in which training sees its sequences.
import type { TokenStream } from '../../formats/token-stream';
import type { TokenBatch } from '../../../native/binding/addon';

export interface TrainingDataOptions {
  readonly stream: TokenStream;
  readonly sequenceLength: number;
  readonly seed: number;
  /** Rows of the model's embedding table: ids must be smaller. */
  readonly modelVocabSize: number;
}

/** Position in the data, as saved in a checkpoint (plain JSON). */
export interface TrainingDataState {
  readonly version: 1;
  readonly identity: string;
  readonly sequenceLength: number;
  readonly seed: number;
  readonly epoch: number;
  /** Sequences of this epoch already handed out. */
  readonly position: number;
}

export declare class TrainingData {
  static open(options: TrainingDataOptions): TrainingData;
  readonly sequences: number;
  next(batchSize: number): TokenBatch;
  state(): TrainingDataState;
  restore(state: unknown): void;
}

/** Batches of up to `microBatch` sequences in the order of the stream, at most `maxBatches` (null: all). */
export declare function evaluationBatches(
  stream: TokenStream,
  sequenceLength: number,
  maxBatches: number | null,
  microBatch: number,
  modelVocabSize: number,
): Iterable<TokenBatch>;
