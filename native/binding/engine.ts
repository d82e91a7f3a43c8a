// One engine: a model in memory that trains, evaluates and finds starts. Calls on one engine are executed in the order made.

import type { FloatGroup, MemoryParts } from './engine-config';

/** Which numbers stand for the weights: those of the checkpoint, s·Q of the start, what training has made of them, or the integers that
 *  were written at its end. */
export type WeightForm = 'float' | 'round-to-nearest' | 'trained' | 'merged';

/** What the float model gives for each of some tokens. */
export interface TeacherRows {
  /** [tokens, topK]: its likeliest ids, ascending in a row. */
  readonly classes: Int32Array;
  /** [tokens, topK + 1]: natural logarithms of their shares at the temperature, and of that of all other ids together. */
  readonly logProbabilities: Float32Array;
}

/** Tokens of some sequences, flattened [sequences, sequenceLength]. */
export interface TokenBatch {
  readonly tokens: Int32Array;
  /** Next token to predict at each position; -1: not predicted. */
  readonly targets: Int32Array;
  /** First position of its sequence that each token may attend to (document packing); omit for plain causal. */
  readonly firstKey?: Int32Array;
  /** For trainStep of an engine with distillation, and for nothing else. */
  readonly teacher?: TeacherRows;
  /** Branches of one beginning: each token does not see from ≤ key < to of its sequence, and its rotary position is that
   *  much smaller; 0 and 0 where nothing is hidden. For evaluation engines and models without a sliding window. */
  readonly hidden?: { readonly from: Int32Array; readonly to: Int32Array };
}

export interface OptimizerSettings {
  /** `zeroPoints` absent or null: that of the scales. `weights`, `activations` and the groups of {@link TrainedFloats} absent or null: 0. */
  readonly learningRate: {
    readonly lowRank: number;
    readonly scales: number;
    readonly zeroPoints?: number | null;
    readonly weights?: number;
    readonly norms?: number | null;
    readonly head?: number | null;
    readonly embeddings?: number | null;
    readonly activations?: number;
  };
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global L2 norm of all trained gradients; null: no clipping. */
  readonly gradientClip: number | null;
}

export interface StepResult {
  /** What was trained on: the mean cross-entropy over all predicted tokens of the step, with distillation mixed with the divergence. */
  readonly loss: number;
  /** With distillation: the means that the loss is mixed of. */
  readonly crossEntropy?: number;
  readonly divergence?: number;
  readonly tokens: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** true: loss or gradient was not finite, nothing was changed. */
  readonly skipped: boolean;
  /** Adam's step count after this call. */
  readonly optimizerStep: number;
  readonly seconds: number;
}

export interface EvaluationResult {
  /** Sum of the cross-entropies and number of predicted tokens. */
  readonly lossSum: number;
  readonly tokens: number;
  readonly seconds: number;
}

export interface LayerStatistics {
  readonly name: string;
  /** Share of entries outside the grid before clipping. */
  readonly clippedShare: number;
  /** Integers that differ from step 0. */
  readonly flipped: number;
  readonly weights: number;
  /** Mean |s − s0| / s0. */
  readonly scaleDrift: number;
  /** Mean |z − z0| of the integer zero points; absent where the grid is symmetric. */
  readonly zeroPointDrift?: number;
}

/** `a` [m, r], `b` [r, n], `scale` [scaleCount] as trained (log s in the log domain), `zeroPoint` [scaleCount] unrounded,
 *  `weight` [m, n] of storage `trained` and of what is trained beside the linears (`model.norm`, `lm_head`, …). */
export type ParameterKind = 'a' | 'b' | 'scale' | 'zeroPoint' | 'weight';
export type StateKind = 'value' | 'moment1' | 'moment2' | 'gradient';

export interface ParameterInfo {
  /** Of a quantized linear, or of a tensor beside the linears (without `.weight`), or
   *  `activations`: `scale` and `zeroPoint` of all quantized sites, block by block. */
  readonly linear: string;
  readonly kind: ParameterKind;
  /** Of a tensor beside the linears. */
  readonly group?: FloatGroup;
  readonly shape: readonly number[];
}

export interface LoadProgress {
  readonly linear: string;
  readonly done: number;
  readonly total: number;
}

/** Where numbers lie in a file: packed Φ0 rows of a linear, values of a tensor. */
export interface StoredTensor {
  readonly file: string;
  readonly offset: number;
}

/** What training starts from instead of round-to-nearest. */
export interface StartOptions {
  /** Integers and scales of GPTQ; null: of rounding to nearest. */
  readonly gptq: {
    /** Part of the mean diagonal of the Hessian that is added to its diagonal. */
    readonly damping: number;
    /** Columns in the order of falling diagonal; group scales are then those of the range search. */
    readonly activationOrder: boolean;
  } | null;
  /** A·B starts at the leading singular values of what rounding leaves, found anew so often; null: at zero. */
  readonly lowRank: { readonly iterations: number } | null;
  /** Sequences for GPTQ. */
  readonly calibration: TokenBatch | null;
  readonly onProgress?: (progress: LoadProgress) => void;
}

export interface Engine {
  /** Maps the checkpoint, finds ranges and builds Φ0, linear by linear. `scales` and, for asymmetric grids, `zeroPoints`: s0
   *  and z0 by linear from an earlier run, instead of searching. Must be called once before anything below. */
  load(options?: {
    readonly scales?: Readonly<Record<string, Float32Array>>;
    readonly zeroPoints?: Readonly<Record<string, Float32Array>>;
    /** Φ0 by linear that does not follow from them (see {@link Engine.findStart}); the form `round-to-nearest` is then refused. */
    readonly phi0?: Readonly<Record<string, StoredTensor>>;
    readonly onProgress?: (progress: LoadProgress) => void;
  }): Promise<void>;
  /** After load: puts another start in place of round-to-nearest, linear by linear: Φ0, s0, z0, A and B are then those of the
   *  start, and the form `round-to-nearest` is refused. Only on the CPU and with `training: false`. After a failure, or Cancelled,
   *  load again.
   *  @returns bytes it worked in beside the engine's own (src/experiment/start-memory.ts) */
  findStart(options: StartOptions): Promise<number>;
  /** Static ranges of activations, found on these sequences one after the other with the weights as they are: the running mean of
   *  each tensor's smallest and largest number. Trained scales and zero points start there. Needed before any form but `float`. */
  calibrateActivations(batch: TokenBatch, sequenceLength?: number): Promise<void>;
  /** [layers, quantized sites, 2] in the order of the forward: smallest and largest; empty where there are no static ranges. */
  activationRanges(): Promise<Float32Array>;
  /** Those of an earlier calibration. */
  setActivationRanges(ranges: Float32Array): Promise<void>;
  /** One optimiser step: forward and backward of all micro-batches in `batch` (a multiple of microBatchSize sequences),
   *  loss weighted by tokens, clip, AdamW. Rejects with Cancelled (nothing changed) after {@link cancel}. */
  trainStep(batch: TokenBatch, settings: OptimizerSettings): Promise<StepResult>;
  /** Any number of sequences; the last micro-batch may be partial. `sequenceLength` up to the configured one. `only`: names of
   *  quantized linears that `form` is meant for, the others are float; default: all. */
  evaluate(
    batch: TokenBatch,
    form: WeightForm,
    sequenceLength?: number,
    only?: readonly string[],
  ): Promise<EvaluationResult>;
  /** Cross-entropy of each position's target, nats, [sequences, sequenceLength] float32; 0 where none is predicted. */
  tokenLosses(batch: TokenBatch, form: WeightForm, sequenceLength?: number): Promise<Float32Array>;
  /** Logits [sequences, sequenceLength, vocab] float32; for tests and tools. */
  logits(batch: TokenBatch, form: WeightForm): Promise<Float32Array>;
  /** What the float model gives for every token of some sequences, as trainStep takes it; needs `distillation` and `training`. */
  teach(batch: TokenBatch): Promise<TeacherRows>;
  /** Gradients of the mean loss of the float model with respect to its parameters, by Hugging Face name; one micro-batch. A
   *  test instrument: training never forms them. */
  parameterGradients(batch: TokenBatch): Promise<Record<string, Float32Array>>;
  /** Makes a running trainStep or evaluate reject with Cancelled within one micro-batch. */
  cancel(): void;
  /** Trained numbers, in the order used for norms and updates. */
  parameters(): readonly ParameterInfo[];
  readState(linear: string, kind: ParameterKind, state: StateKind): Promise<Float32Array>;
  writeState(linear: string, kind: ParameterKind, state: StateKind, values: Float32Array): Promise<void>;
  /** Adam's step count (bias correction), part of a checkpoint. */
  optimizerStep(): number;
  setOptimizerStep(step: number): void;
  /** s0 of a linear, as the range search left it. */
  initialScales(linear: string): Promise<Float32Array>;
  /** Current scales in the linear domain, floored, as the forward uses them. */
  scales(linear: string): Promise<Float32Array>;
  /** z0 of a linear as the range search left it, unrounded; empty where the grid is symmetric. */
  initialZeroPoints(linear: string): Promise<Float32Array>;
  /** Current zero points as the forward uses them, integers in 0 … 2^bits − 1; empty where the grid is symmetric. */
  zeroPoints(linear: string): Promise<Uint8Array>;
  /** SHA-256 over all Φ0, s0 and z0: two runs with equal digests start from the same base. */
  baseDigest(): Promise<string>;
  /** Packed Φ0 rows of a linear as stored. */
  phi0(linear: string): Promise<Uint8Array>;
  /** Merged integers of a linear, packed offset codes [m, packedRowBytes(bits, n)] (little-endian bit stream, rows padded to
   *  32 codes, code = Q + 2^(bits-1); asymmetric: code = Q, and Ŵ = s·(Q − z)). */
  merge(linear: string): Promise<Uint8Array>;
  /** Maps merged codes and scales written earlier, by linear; evaluate(…, 'merged') reads them from the files. */
  attachMerged(
    codes: Readonly<
      Record<
        string,
        {
          readonly file: string;
          readonly codesOffset: number;
          readonly scalesOffset: number;
          /** One byte a scale; asymmetric grids only. */
          readonly zeroPointsOffset?: number;
        }
      >
    >,
    /** What is trained beside the linears, by name without `.weight`: float32. All of them, where there are any. */
    floats?: Readonly<Record<string, StoredTensor>>,
  ): Promise<void>;
  layerStatistics(): Promise<LayerStatistics[]>;
  /** The algorithms chosen so far for products of which the library of a GPU has several, as text for {@link takeAlgorithms};
   *  empty on the CPU, whose library chooses by shape and instruction set alone. */
  algorithms(): Promise<string>;
  /** Takes earlier choices, before the products they are for. false: another version of the library made them, and nothing is
   *  taken. Rejects with InvalidArgument for other text. */
  takeAlgorithms(text: string): Promise<boolean>;
  /** What the engine has allocated, by part. */
  memory(): MemoryParts;
  /** Calls and seconds by backend operation since the last call; needs `profile: true`. */
  takeTimings(): Promise<Record<string, { readonly calls: number; readonly seconds: number }>>;
  /** Frees everything; later calls reject. */
  close(): Promise<void>;
}
