// The TypeScript face of lrqat.node: one class per concept, coarse calls, typed arrays in, plain objects out. Every call that
// computes runs on the engine's own thread and returns a promise; calls on one engine are executed in the order made.
// A rejected promise carries an EngineFailure: `code` to branch on and `hint` to show.

import type { ModelShape, TensorSource } from '../../src/formats/model-shape';

export type EngineErrorCode =
  | 'InvalidArgument'
  | 'OutOfMemory'
  | 'PlanMismatch'
  | 'Cancelled'
  | 'InputFile'
  | 'NotFinite'
  | 'Unsupported'
  | 'Internal';

/** Shape of the errors that native calls throw or reject with. */
export interface EngineFailure extends Error {
  readonly code: EngineErrorCode;
  /** What would work instead; may be empty. */
  readonly hint: string;
}

export type ComputeType = 'float32' | 'bf16';
/** `trained`: no frozen copy, the weight itself is trained in float32. */
export type Storage = 'fp32' | 'bf16' | 'fp16' | 'fixed-point' | 'integer' | 'trained';
export type RangeMethod = 'minmax' | 'mse' | 'lp-2.4' | 'lp-3' | 'lp-3.5' | 'lp-4' | 'lp-5';
export type WeightForm = 'float' | 'round-to-nearest' | 'trained' | 'merged';

/** Resolved arithmetic of one linear; `null` in {@link EngineConfig.linears} keeps that linear in float. */
export interface LinearQuantization {
  readonly bits: number;
  /** 0: one scale per tensor; -1: one per output channel; g > 0: one per g consecutive inputs of a row. */
  readonly groupSize: number;
  readonly storage: Storage;
  readonly fractionBits: number;
  readonly encoding: 'reference' | 'centred';
  readonly range: RangeMethod;
  readonly scaleDomain: 'linear' | 'log';
  /** Numbers that the scales are kept to; absent: fp32. */
  readonly scaleFormat?: 'fp32' | 'bf16' | 'fp16';
  readonly learnScales: boolean;
  /** false: every scale has a zero point; absent: true. */
  readonly symmetric?: boolean;
  /** Of asymmetric grids; absent: false. */
  readonly learnZeroPoints?: boolean;
  /** 0: no low-rank term. */
  readonly rank: number;
  readonly alpha: number;
  /** Of storage `trained`: gradients of scales and zero points times 1/√(qmax · weights a scale); absent: false. */
  readonly gradientScaling?: boolean;
}

/** Bytes the engine allocates, by part; computed by the planner, asserted by the engine (PlanMismatch). */
export interface MemoryParts {
  /** Φ0 (packed), s0 and zero points of every quantized linear. */
  readonly quantizedWeights: number;
  /** A, B, trained weights, scales and zero points, and what is trained beside the linears, float32. */
  readonly parameters: number;
  readonly gradients: number;
  /** Two moments per trained number; 0 when not training. */
  readonly optimizer: number;
  /** Embedding table, head when untied, norm weights, biases. */
  readonly embeddings: number;
  /** What a micro-batch keeps for its backward. */
  readonly activations: number;
  /** One rebuilt weight, logits chunk, scratch of the operations, gradients in flight. */
  readonly workspace: number;
  /** Host memory that a GPU reads and writes in place (moments that live there); not device memory. */
  readonly host: number;
}

/** Where an engine computes. */
export type DeviceConfig =
  | { readonly type: 'cpu' }
  | {
      readonly type: 'cuda';
      /** Of the GPU, as the CUDA runtime counts them. */
      readonly index: number;
      /** File of the CUDA backend (lrqat_cuda). */
      readonly library: string;
      /** File or loader name of cuBLASLt. */
      readonly cublasLt: string;
      /** Of that GPU (CudaDevice.uuid), for {@link LrqatAddon.gpuUsage}. */
      readonly uuid?: string;
    };

/** Tensors of every block that can be quantized on their way: the norms' outputs, what k_proj and v_proj give (the key-value
 *  cache), queries and keys after rotation, the input of o_proj, and silu(gate)·up. */
export type ActivationSite =
  | 'attentionInput'
  | 'keys'
  | 'values'
  | 'rotatedQueries'
  | 'rotatedKeys'
  | 'attentionOutput'
  | 'mlpInput'
  | 'mlpProduct';

/** Activations on grids of their own for each token, found from its values, or on one grid a tensor; of every form of the model but
 *  `float`. */
export interface ActivationQuantization {
  /** 2 to 8 bits by site; absent or null: the site is not quantized. */
  readonly bits: Readonly<Partial<Record<ActivationSite, number | null>>>;
  /** `reference`: −min/δ, not rounded, as in the authors' code; not with static ranges. */
  readonly zeroPoint: 'integer' | 'reference';
  /** One grid a tensor, from {@link Engine.calibrateActivations}; absent or null: one a token. */
  readonly staticRanges?: StaticRanges | null;
}

export interface StaticRanges {
  readonly symmetric: boolean;
  /** Scales and zero points are trained. */
  readonly learn: boolean;
  /** Their gradients times 1/√(qmax · numbers of the tensor in a step). */
  readonly gradientScaling: boolean;
}

/** Training on (1 − weight)·cross-entropy + weight·temperature²·divergence from the float model (Backend::distillationLoss). */
export interface DistillationConfig {
  /** 0 to 1. */
  readonly weight: number;
  /** Likeliest tokens of the float model that are told apart at each position, 1 to 1024 and at most the vocabulary. */
  readonly topK: number;
  readonly temperature: number;
}

/** What the float model gives for each of some tokens. */
export interface TeacherRows {
  /** [tokens, topK]: its likeliest ids, ascending in a row. */
  readonly classes: Int32Array;
  /** [tokens, topK + 1]: natural logarithms of their shares at the temperature, and of that of all other ids together. */
  readonly logProbabilities: Float32Array;
}

/** What can be trained beside the quantized linears: the weights of all norms; the head, unless it is tied; the embedding table, and
 *  with it a tied head. */
export type FloatGroup = 'norms' | 'head' | 'embeddings';
export type TrainedFloats = Readonly<Record<FloatGroup, boolean>>;

export interface EngineConfig {
  readonly model: ModelShape;
  /** All parameters of the checkpoint that the decoder needs. Files are mapped, never read whole. */
  readonly tensors: readonly TensorSource[];
  /** By full linear name (`model.layers.0.self_attn.q_proj`). */
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** Default: the CPU. */
  readonly device?: DeviceConfig;
  /** Absent or null: nothing beside the quantized linears. */
  readonly trainedFloats?: TrainedFloats | null;
  /** Absent or null: activations stay in the compute type. */
  readonly activations?: ActivationQuantization | null;
  /** Absent or null: training follows the text alone. */
  readonly distillation?: DistillationConfig | null;
  readonly compute: ComputeType;
  /** Type of the residual stream and of saved block inputs; default float32, the only one on the CPU. */
  readonly residual?: ComputeType;
  /** Outputs of element-wise operations are kept for the backward (default), or made again in it. */
  readonly elementwise?: 'keep' | 'recompute';
  /** Weights rebuilt from Φ0, A and B, with their clipped entries: made again for every product (default), or kept for all micro-batches
   *  of a step and of an evaluation. On the CPU alone; results are the same. */
  readonly rebuiltWeights?: 'rebuild' | 'keep';
  /** Parts of a training micro-batch that go through all layers side by side, each on one thread and with gradients of its own:
   *  a divisor of the micro-batch, with kept weights, on the CPU. Default 1: all threads share every operation. Results do not
   *  depend on the threads that the lanes run on. */
  readonly lanes?: number;
  /** Where the embedding table lies; `host`: its rows are gathered from the mapped checkpoint (a tied one stays). Default
   *  `device`. */
  readonly embeddings?: 'device' | 'host';
  /** Where the optimiser's moments lie; default `device`. */
  readonly optimizerState?: 'device' | 'host';
  readonly threads: number;
  /** Shared library of oneDNN glue to open; null: the built-in GEMM. */
  readonly oneDnn: string | null;
  /** false: evaluation only, nothing for gradients is allocated. */
  readonly training: boolean;
  readonly microBatchSize: number;
  readonly sequenceLength: number;
  readonly activationCheckpointing: 'none' | 'block';
  /** With `block`: so many of the last blocks keep their activations all the same, 1 … layers. Default 1: the backward begins with
   *  the last block, which it need not compute again. */
  readonly keptBlocks?: number;
  /** Seed of B's initialization (A starts at zero). */
  readonly seed: number;
  /** null: allocate what is needed without comparing. */
  readonly plan: MemoryParts | null;
  /** Measures the wall time of every backend operation for {@link Engine.takeTimings}. */
  readonly profile?: boolean;
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

export interface CpuInfo {
  readonly isa: string;
  readonly bf16: 'amx' | 'avx512' | 'none';
  readonly logicalCores: number;
  readonly gemm: { readonly library: string; readonly version: string } | null;
}

export interface CudaDevice {
  readonly index: number;
  readonly name: string;
  /** As nvidia-smi -L prints it. */
  readonly uuid: string;
  /** Such as "9.0". */
  readonly computeCapability: string;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** What a GPU reports at a moment; null: nothing of the kind. */
export interface GpuUsage {
  /** Share of the last moments in which it computed, 0 to 1. */
  readonly utilization: number | null;
  readonly watts: number | null;
  readonly celsius: number | null;
  /** Bytes taken by all processes, and all there are. */
  readonly memoryUsed: number | null;
  readonly memoryTotal: number | null;
}

export interface CudaInfo {
  /** CUDA version of the build, and the newest that the driver serves ("0.0": no driver). */
  readonly runtime: string;
  readonly driver: string;
  readonly devices: readonly CudaDevice[];
}

export interface BpeTokenizerOptions {
  /** Contents of tokenizer.json, UTF-8. */
  readonly json: Uint8Array;
}

/** C [rows, columns] = A [rows, inner] · B, with B given as [columns, inner] when transposed. */
export interface GemmProduct {
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  readonly transposeB: boolean;
  /** Element type of C; left out: `compute`. */
  readonly result?: ComputeType;
  /** C += A · B; left out: C = A · B. */
  readonly accumulate?: boolean;
}

export interface LrqatAddon {
  readonly engineVersion: string;
  readonly Engine: new (config: EngineConfig) => Engine;
  /** Looks at the CPU and tries to open `oneDnn`. */
  cpuInfo(oneDnn: string | null): CpuInfo;
  /** Opens the CUDA backend and lists the GPUs. Throws EngineFailure with code Unsupported where there is no driver. */
  cudaInfo(library: string): CudaInfo;
  /** Asks NVIDIA's management library (NVML), which comes with the driver, about a GPU (CudaDevice.uuid); null where there is
   *  no such library or GPU. Cheap enough for every second. */
  gpuUsage(uuid: string): GpuUsage | null;
  /** Scratch memory that the CUDA backend takes for an engine of this configuration, bytes; asks no GPU. For the test of the
   *  planner, which computes the same. */
  cudaScratchBytes(library: string, config: EngineConfig): number;
  /** Memory of an engine of this configuration whose operations take `scratchBytes`; asks neither GPU nor backend. For the
   *  test of the planner. */
  memoryParts(config: EngineConfig, scratchBytes: number): MemoryParts;
  /** Median time of one product as the engine makes it, nothing around it, in memory as the engine has it. */
  gemmCeiling(
    options: GemmProduct & {
      readonly compute: ComputeType;
      readonly threads: number;
      readonly oneDnn: string | null;
      /** The library even where the engine's own products are faster. */
      readonly libraryAlone?: boolean;
    },
  ): Promise<{ readonly seconds: number }>;
  /** Median time to copy `bytes` in memory with so many threads (reads and writes as much). */
  copyTime(options: { readonly bytes: number; readonly threads: number }): Promise<{ readonly seconds: number }>;
  /** A fatal signal of this process appends one line to `logFile` before it dies. POSIX only; elsewhere does nothing. */
  installCrashLog(logFile: string): void;
}
