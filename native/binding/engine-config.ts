// What an engine is made with: the model, the arithmetic of each linear, where and in what it computes. Every choice is made by the
// planner (src/experiment); the engine checks it and chooses nothing itself.

import type { ModelShape, TensorSource } from '../../src/formats/model-shape';

export type ComputeType = 'float32' | 'bf16';
/** `trained`: no frozen copy, the weight itself is trained in float32. */
export type Storage = 'fp32' | 'bf16' | 'fp16' | 'fixed-point' | 'integer' | 'trained';
export type RangeMethod = 'minmax' | 'mse' | 'lp-2.4' | 'lp-3' | 'lp-3.5' | 'lp-4' | 'lp-5';

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
