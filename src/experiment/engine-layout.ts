// Everything that decides the engine's memory, and the sizes that its buffers have in common.

import type {
  ActivationQuantization,
  ComputeType,
  DistillationConfig,
  LinearQuantization,
  TrainedFloats,
} from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';

/** Everything that decides the engine's memory. */
export interface EngineLayout {
  readonly shape: ModelShape;
  /** By full linear name; null: kept in float. */
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** Absent or null: none is quantized. */
  readonly activations?: ActivationQuantization | null;
  /** Absent or null: training follows the text alone. */
  readonly distillation?: DistillationConfig | null;
  /** What is trained beside the linears; absent or null: nothing. */
  readonly trainedFloats?: TrainedFloats | null;
  readonly device: 'cpu' | 'cuda';
  readonly compute: ComputeType;
  readonly threads: number;
  /** false: evaluation only. */
  readonly training: boolean;
  readonly microBatchSize: number;
  readonly sequenceLength: number;
  readonly activationCheckpointing: 'none' | 'block';
  /** With block checkpointing, of the last blocks: those whose activations are kept all the same; default 1. */
  readonly keptBlocks?: number;
  /** Type of the residual stream and of the saved block inputs. */
  readonly residual: ComputeType;
  /** Outputs of element-wise operations are kept for the backward, or made again in it. */
  readonly elementwise: 'keep' | 'recompute';
  /** Every linear's rebuilt weight stays for all micro-batches of a step, or there is room for one; default: for one. */
  readonly rebuiltWeights?: 'rebuild' | 'keep';
  /** Parts of a training micro-batch that go through all layers side by side, each on one thread; default 1. */
  readonly lanes?: number;
  readonly embeddings: 'device' | 'host';
  readonly optimizerState: 'device' | 'host';
}

export function byteSize(type: ComputeType): number {
  return type === 'float32' ? 4 : 2;
}

export interface Widths {
  readonly tokens: number;
  readonly hidden: number;
  readonly query: number;
  readonly keyValue: number;
  readonly intermediate: number;
}

export function widths({ shape, microBatchSize, sequenceLength }: EngineLayout): Widths {
  return {
    tokens: microBatchSize * sequenceLength,
    hidden: shape.hiddenSize,
    query: shape.heads * shape.headDim,
    keyValue: shape.kvHeads * shape.headDim,
    intermediate: shape.intermediateSize,
  };
}

export function lanesAtOnce({ lanes = 1, threads }: EngineLayout): number {
  return Math.min(lanes, threads);
}

/** What an engine would take that trains one lane as a micro-batch of its own. */
export function laneOf(plan: EngineLayout): EngineLayout {
  return { ...plan, microBatchSize: plan.microBatchSize / (plan.lanes ?? 1), threads: 1, lanes: 1 };
}

/** Blocks with activations of their own: the last ones, as the backward begins with them. */
export function ownActivations({ shape, training, activationCheckpointing, keptBlocks = 1 }: EngineLayout): number {
  if (!training) return 1;
  return activationCheckpointing === 'none' ? shape.layers : Math.min(Math.max(keptBlocks, 1), shape.layers);
}

/** Rows of logits in memory at once: 2^24 numbers, at least 32 rows; on a GPU in whole tiles of 128 rows, no more than a quarter of all,
 *  but at least 256, and 1024 where the head is trained. */
export function logitRows(plan: EngineLayout): number {
  const { device, shape, microBatchSize, sequenceLength } = plan;
  const tokens = microBatchSize * sequenceLength;
  const most = Math.floor(2 ** 24 / shape.vocabSize);
  if (device === 'cpu') return Math.min(tokens, Math.max(32, most));
  const least = plan.training && trainsHead(plan) ? 1024 : 256;
  return Math.min(tokens, Math.max(least, Math.floor(most / 128) * 128), Math.max(least, Math.ceil(tokens / 4)));
}

/** The same for a lane of `tokens` tokens: its share, but no more than 2^19 numbers, which its processor still finds in the
 *  second-level cache; at least 128 rows, for every chunk packs the head again. */
export function laneLogitRows(plan: EngineLayout, tokens: number): number {
  const share = Math.max(32, Math.floor(logitRows(plan) / (plan.lanes ?? 1)));
  return Math.min(tokens, share, Math.max(128, Math.floor(2 ** 19 / plan.shape.vocabSize)));
}

/** The head has a gradient: one more product, in float32. */
export function trainsHead({ shape, trainedFloats }: Pick<EngineLayout, 'shape' | 'trainedFloats'>): boolean {
  return (shape.tiedEmbeddings ? trainedFloats?.embeddings : trainedFloats?.head) === true;
}

/** Clipped entries of a weight that are listed before the dense gradient takes over. */
export function clippedCapacity(outputs: number, inputs: number): number {
  return Math.max(1024, Math.floor((outputs * inputs) / 32));
}
