// The order in which training sees its sequences: each epoch all of them once, shuffled anew, without end.
import { UserError } from '../../errors';
import type { TokenStream } from '../../formats/token-stream';
import type { TokenBatch } from '../../../native/binding/addon';
import { batchOf, sequenceCount } from './packing';
import { Shuffle } from './shuffle';

export interface TrainingDataOptions {
  readonly stream: TokenStream;
  readonly sequenceLength: number;
  /** uint32. */
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

/** A sequence in the order of training. */
export interface DrawnSequence {
  readonly epoch: number;
  /** Its place in the order of the epoch, and in the corpus. */
  readonly position: number;
  readonly index: number;
}

export class TrainingData {
  /** Whole sequences in the corpus: one epoch. */
  readonly sequences: number;
  private epoch = 0;
  private position = 0;
  private shuffle: Shuffle;

  private constructor(private readonly options: TrainingDataOptions) {
    this.sequences = sequenceCount(options.stream, options.sequenceLength);
    this.shuffle = new Shuffle(this.sequences, options.seed, 0);
  }

  /** Throws UserError when the corpus is shorter than one sequence or made for a larger vocabulary. */
  static open(options: TrainingDataOptions): TrainingData {
    requireSequences(options.stream, options.sequenceLength, options.modelVocabSize);
    return new TrainingData(options);
  }

  /** The next `batchSize` sequences; the end of an epoch may lie within. */
  next(batchSize: number): TokenBatch {
    return this.batch(this.draw(batchSize));
  }

  /** What {@link next} would give, not yet read. */
  draw(batchSize: number): DrawnSequence[] {
    const drawn: DrawnSequence[] = [];
    while (drawn.length < batchSize) {
      if (this.position === this.sequences) {
        this.epoch++;
        this.position = 0;
        this.shuffle = new Shuffle(this.sequences, this.options.seed, this.epoch);
      }
      const position = this.position++;
      drawn.push({ epoch: this.epoch, position, index: this.shuffle.at(position) });
    }
    return drawn;
  }

  batch(sequences: readonly Pick<DrawnSequence, 'index'>[]): TokenBatch {
    const { stream, sequenceLength } = this.options;
    return batchOf(
      stream,
      sequenceLength,
      sequences.map(({ index }) => index),
    );
  }

  /** Where the sequence at a position of the first epoch stands in the corpus. */
  firstEpoch(): (position: number) => number {
    const shuffle = new Shuffle(this.sequences, this.options.seed, 0);
    return (position) => shuffle.at(position);
  }

  state(): TrainingDataState {
    const { stream, sequenceLength, seed } = this.options;
    return {
      version: 1,
      identity: stream.identity,
      sequenceLength,
      seed,
      epoch: this.epoch,
      position: this.position,
    };
  }

  /** Continues where `state` was taken. Throws UserError when it belongs to other data. */
  restore(state: unknown): void {
    const own = this.state();
    if (!isState(state)) {
      throw new UserError(
        'CheckpointInvalid',
        'the data position of the checkpoint is not in the form that this version writes',
      );
    }
    for (const key of ['identity', 'sequenceLength', 'seed'] as const) {
      if (state[key] === own[key]) continue;
      throw new UserError(
        'DataChanged',
        `the training data is not what the checkpoint was made with: ${key} was ${String(state[key])}, is ${String(own[key])}`,
        {
          hint: `Put back ${this.options.stream.files.join(', ')} and its tokenizer as they were, or start a new run.`,
        },
      );
    }
    if (state.position > this.sequences) {
      throw new UserError(
        'CheckpointInvalid',
        `the checkpoint's data position ${String(state.position)} lies beyond the ${String(this.sequences)} sequences of the corpus`,
      );
    }
    this.epoch = state.epoch;
    this.position = state.position;
    this.shuffle = new Shuffle(this.sequences, own.seed, this.epoch);
  }
}

/** Batches of up to `microBatch` sequences in the order of the stream, at most `maxBatches` (null: all). */
export function* evaluationBatches(
  stream: TokenStream,
  sequenceLength: number,
  maxBatches: number | null,
  microBatch: number,
  modelVocabSize: number,
): Generator<TokenBatch, void, undefined> {
  requireSequences(stream, sequenceLength, modelVocabSize);
  const all = sequenceCount(stream, sequenceLength);
  const count = maxBatches === null ? all : Math.min(all, maxBatches * microBatch);
  for (let first = 0; first < count; first += microBatch) {
    const length = Math.min(microBatch, count - first);
    yield batchOf(
      stream,
      sequenceLength,
      Array.from({ length }, (_, i) => first + i),
    );
  }
}

/** At least one sequence, and ids that the model has rows for. */
export function requireSequences(stream: TokenStream, sequenceLength: number, modelVocabSize: number): void {
  const names = stream.files.join(', ');
  if (stream.vocabSize > modelVocabSize) {
    throw new UserError(
      'VocabularyMismatch',
      `${names}: vocabulary mismatch: the ids are of a vocabulary of ${String(stream.vocabSize)}, the model has ${String(modelVocabSize)}`,
      { hint: 'Tokenize with the tokenizer that belongs to the model.' },
    );
  }
  if (stream.count < sequenceLength) {
    const found = stream.count === 0 ? 'the corpus is empty' : `the corpus has ${String(stream.count)} tokens`;
    throw new UserError('CorpusTooShort', `${names}: ${found}, one sequence needs ${String(sequenceLength)}`, {
      hint: 'Use more text or a smaller data.sequenceLength.',
    });
  }
}

function isState(value: unknown): value is TrainingDataState {
  if (typeof value !== 'object' || value === null) return false;
  const state = value as Partial<Record<keyof TrainingDataState, unknown>>;
  const isCount = (count: unknown): boolean => Number.isSafeInteger(count) && Number(count) >= 0;
  return (
    state.version === 1 &&
    typeof state.identity === 'string' &&
    isCount(state.sequenceLength) &&
    isCount(state.seed) &&
    isCount(state.epoch) &&
    isCount(state.position)
  );
}
