// The engine's allocations, buffer by buffer: the mirror of native/core/memory_plan.cpp, which holds the same lists in the
// same order. The engine compares its own sums with these to the byte and refuses to start when they differ.

import type {
  ActivationQuantization,
  ActivationSite,
  ComputeType,
  DistillationConfig,
  LinearQuantization,
  MemoryParts,
  TrainedFloats,
} from '../../native/binding/addon';
import { hasBias } from '../formats/model-parameters';
import { LINEAR_NAMES, linearSize, type LinearName, type ModelShape } from '../formats/model-shape';
import { cudaScratchBytes } from './cuda-scratch';
import { elementsOf, floatParameters } from './float-parameters';
import { scratchBytes } from './scratch';

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
  readonly embeddings: 'device' | 'host';
  readonly optimizerState: 'device' | 'host';
}

/** A linear that is quantized, with its place and size. */
export interface QuantizedLinear {
  readonly name: string;
  readonly layer: number;
  readonly linear: LinearName;
  readonly spec: LinearQuantization;
  readonly outputs: number;
  readonly inputs: number;
}

export function quantizedLinears({ shape, linears }: Pick<EngineLayout, 'shape' | 'linears'>): QuantizedLinear[] {
  return Array.from({ length: shape.layers }, (_, layer) =>
    LINEAR_NAMES.flatMap((linear): QuantizedLinear[] => {
      const name = `model.layers.${String(layer)}.${linear}`;
      const spec = linears[name];
      return spec ? [{ name, layer, linear, spec, ...linearSize(shape, linear) }] : [];
    }),
  ).flat();
}

/** Sums buffers as the engine places them: each starts at a multiple of 256 bytes, as libraries for GPUs want it (native/core/layout.h). */
class Sum {
  private used = 0;
  private peak = 0;

  bytes(count: number): void {
    this.used += Math.ceil(count / 256) * 256;
  }
  floats(count: number): void {
    this.bytes(count * 4);
  }
  matrix(type: ComputeType, rows: number, columns: number): void {
    this.bytes(rows * columns * byteSize(type));
  }
  mark(): number {
    return this.used;
  }
  /** Buffers after this share the memory of those placed since `mark`. */
  rewind(mark: number): void {
    this.peak = this.highest();
    this.used = mark;
  }
  highest(): number {
    return Math.max(this.used, this.peak);
  }
}

export function byteSize(type: ComputeType): number {
  return type === 'float32' ? 4 : 2;
}

/** Bits of one stored code of Φ0; 0 where the weight itself is trained and there is none. */
export function codeBits({ storage, bits, fractionBits }: LinearQuantization): number {
  switch (storage) {
    case 'fp32':
      return 32;
    case 'bf16':
    case 'fp16':
      return 16;
    case 'fixed-point':
      return bits + fractionBits;
    case 'integer':
      return bits;
    case 'trained':
      return 0;
  }
}

/** Bytes of one packed row of `inputs` codes: whole groups of 32 codes; float storages are plain arrays. */
export function packedRowBytes(width: number, inputs: number): number {
  return width >= 16 ? inputs * (width / 8) : Math.ceil(inputs / 32) * 4 * width;
}

/** Of a scale as it is stored beside the integers. */
export const SCALE_BITS = 32;
/** Of a zero point, likewise: a byte at every bit-width. */
export const ZERO_POINT_BITS = 8;

/** Scales of a linear: one, one an output, or one a group. */
export function scaleCount({ spec, outputs, inputs }: Pick<QuantizedLinear, 'spec' | 'outputs' | 'inputs'>): number {
  if (spec.groupSize === 0) return 1;
  return spec.groupSize < 0 ? outputs : outputs * (inputs / spec.groupSize);
}

/** Zero points of a linear: as many as scales where its grid is asymmetric. */
export function zeroPointCount(linear: QuantizedLinear): number {
  return linear.spec.symmetric === false ? scaleCount(linear) : 0;
}

/** Numbers that training changes: A, B or the weight itself, scales and zero points. */
export function trainedNumbers(linear: QuantizedLinear): number {
  const { spec, outputs, inputs } = linear;
  const scales = spec.learnScales ? scaleCount(linear) : 0;
  const weights = trainsWeights(spec) ? outputs * inputs : spec.rank * (outputs + inputs);
  return weights + scales + (trainsZeroPoints(spec) ? zeroPointCount(linear) : 0);
}

/** Numbers that are trained of a whole model. */
export function allTrainedNumbers(
  plan: Pick<EngineLayout, 'shape' | 'linears' | 'trainedFloats' | 'activations'>,
): number {
  const beside = floatParameters(plan.shape, plan.trainedFloats).reduce((total, one) => total + elementsOf(one), 0);
  return (
    quantizedLinears(plan).reduce((total, linear) => total + trainedNumbers(linear), beside) +
    trainedActivationNumbers(plan)
  );
}

/** The weight itself is trained (LSQ). */
export function trainsWeights({ storage }: LinearQuantization): boolean {
  return storage === 'trained';
}

export function trainsZeroPoints({ symmetric, learnZeroPoints }: LinearQuantization): boolean {
  return symmetric === false && learnZeroPoints === true;
}

/** Bytes of a merged linear: codes, float32 scales, and a byte a zero point. */
export function mergedBytes(linear: QuantizedLinear): number {
  const codes = linear.outputs * packedRowBytes(linear.spec.bits, linear.inputs);
  return codes + (scaleCount(linear) * SCALE_BITS + zeroPointCount(linear) * ZERO_POINT_BITS) / 8;
}

/** Scales that are not learned: those of the range search serve as trained and as current ones too. */
function keepsScales({ training }: EngineLayout, { learnScales }: LinearQuantization): boolean {
  return training && !learnScales;
}

/** Where the optimiser's moments lie on the host, so do those scales of the range search that training has no use for. */
function scale0OnHost({ training, optimizerState }: EngineLayout, { learnScales }: LinearQuantization): boolean {
  return training && optimizerState === 'host' && learnScales;
}

export function memoryParts(plan: EngineLayout): MemoryParts {
  return {
    quantizedWeights: quantizedWeights(plan),
    parameters: parameters(plan),
    gradients: gradients(plan),
    optimizer: plan.optimizerState === 'host' ? 0 : optimizer(plan),
    embeddings: embeddings(plan),
    activations: activations(plan),
    workspace: workspace(plan),
    host: plan.optimizerState === 'host' ? hostBytes(plan) : 0,
  };
}

export function totalBytes(parts: MemoryParts): number {
  const { quantizedWeights, parameters, gradients, optimizer, embeddings, activations, workspace } = parts;
  return quantizedWeights + parameters + gradients + optimizer + embeddings + activations + workspace;
}

function quantizedWeights(plan: EngineLayout): number {
  const sum = new Sum();
  for (const linear of quantizedLinears(plan)) {
    sum.bytes(linear.outputs * packedRowBytes(codeBits(linear.spec), linear.inputs));
    if (!scale0OnHost(plan, linear.spec)) sum.floats(scaleCount(linear));
    sum.floats(zeroPointCount(linear));
  }
  return sum.highest();
}

function trained(sum: Sum, linear: QuantizedLinear, scales: boolean): void {
  const { spec, outputs, inputs } = linear;
  if (trainsWeights(spec)) sum.floats(outputs * inputs);
  if (spec.rank > 0) {
    sum.floats(outputs * spec.rank);
    sum.floats(spec.rank * inputs);
  }
  if (scales) sum.floats(scaleCount(linear));
  if (trainsZeroPoints(spec)) sum.floats(zeroPointCount(linear));
}

/** What is trained beside the linears. */
function trainedBeside(sum: Sum, { shape, trainedFloats }: EngineLayout): void {
  for (const parameter of floatParameters(shape, trainedFloats)) sum.floats(elementsOf(parameter));
}

/** Tensors of activations, each with a grid of its own where ranges are static. */
function staticGrids(plan: Pick<EngineLayout, 'shape' | 'activations'>): number {
  return plan.shape.layers * quantizedSites(plan).length;
}

/** Grids of activations are trained. */
export function learnsRanges({ activations }: Pick<EngineLayout, 'activations'>): boolean {
  return activations?.staticRanges?.learn === true;
}

/** Numbers that are trained beside those of linears: scales and zero points of static grids. */
function trainedActivationNumbers(plan: Pick<EngineLayout, 'shape' | 'activations'>): number {
  if (!learnsRanges(plan)) return 0;
  return staticGrids(plan) * (plan.activations?.staticRanges?.symmetric === true ? 1 : 2);
}

function learnedGrids(sum: Sum, plan: EngineLayout): void {
  const each = staticGrids(plan);
  for (let count = trainedActivationNumbers(plan); count > 0; count -= each) sum.floats(each);
}

function parameters(plan: EngineLayout): number {
  const sum = new Sum();
  for (const linear of quantizedLinears(plan)) {
    const kept = keepsScales(plan, linear.spec);
    trained(sum, linear, !kept);
    if (!kept) sum.floats(scaleCount(linear)); // linear domain, floored
    sum.floats(zeroPointCount(linear)); // integers
    if (linear.spec.groupSize <= 0) sum.floats(linear.outputs); // one a row, for the epilogues
  }
  trainedBeside(sum, plan);
  if ((plan.activations?.staticRanges ?? null) !== null) sum.bytes(staticGrids(plan) * 16);
  learnedGrids(sum, plan);
  return sum.highest();
}

function gradients(plan: EngineLayout): number {
  if (!plan.training) return 0;
  const sum = new Sum();
  for (const linear of quantizedLinears(plan)) trained(sum, linear, linear.spec.learnScales);
  trainedBeside(sum, plan);
  learnedGrids(sum, plan);
  return sum.highest();
}

function optimizer(plan: EngineLayout): number {
  return 2 * gradients(plan);
}

function hostBytes(plan: EngineLayout): number {
  const sum = new Sum();
  sum.bytes(optimizer(plan));
  for (const linear of quantizedLinears(plan)) {
    if (scale0OnHost(plan, linear.spec)) sum.floats(scaleCount(linear));
  }
  return sum.highest();
}

function embeddings({ shape, compute, sequenceLength, embeddings: place, trainedFloats }: EngineLayout): number {
  const sum = new Sum();
  if (place === 'device' || shape.tiedEmbeddings || trainedFloats?.embeddings === true)
    sum.matrix(compute, shape.vocabSize, shape.hiddenSize);
  if (!shape.tiedEmbeddings) sum.matrix(compute, shape.vocabSize, shape.hiddenSize);
  sum.floats(shape.hiddenSize);
  const rotary = sequenceLength * Math.floor(shape.headDim / 2);
  sum.floats(rotary); // cosine
  sum.floats(rotary); // sine
  for (let layer = 0; layer < shape.layers; layer++) {
    sum.floats(shape.hiddenSize);
    sum.floats(shape.hiddenSize);
    if (shape.qkNorm) {
      sum.floats(shape.headDim);
      sum.floats(shape.headDim);
    }
    for (const linear of LINEAR_NAMES) {
      if (hasBias(shape, linear)) sum.floats(linearSize(shape, linear).outputs);
    }
  }
  return sum.highest();
}

interface Widths {
  readonly tokens: number;
  readonly hidden: number;
  readonly query: number;
  readonly keyValue: number;
  readonly intermediate: number;
}

function widths({ shape, microBatchSize, sequenceLength }: EngineLayout): Widths {
  return {
    tokens: microBatchSize * sequenceLength,
    hidden: shape.hiddenSize,
    query: shape.heads * shape.headDim,
    keyValue: shape.kvHeads * shape.headDim,
    intermediate: shape.intermediateSize,
  };
}

/** What element-wise operations make. */
function elementwise(sum: Sum, plan: EngineLayout): void {
  const { tokens, hidden, query, keyValue, intermediate } = widths(plan);
  const e = plan.compute;
  sum.matrix(e, tokens, hidden); // first norm
  for (const width of [query, keyValue, keyValue]) sum.matrix(e, tokens, width); // q, k, v
  sum.matrix(e, tokens, hidden); // second norm
  sum.matrix(e, tokens, intermediate); // silu(gate)·up
}

function block(sum: Sum, plan: EngineLayout, ownsInput: boolean): void {
  const { tokens, hidden, query, keyValue, intermediate } = widths(plan);
  const e = plan.compute;
  if (ownsInput) sum.matrix(plan.residual, tokens, hidden);
  sum.floats(tokens); // first norm's rstd
  for (const width of [query, keyValue, keyValue]) sum.matrix(e, tokens, width); // raw q, k, v
  sum.matrix(e, tokens, query); // attention
  sum.floats(tokens * plan.shape.heads); // log-sum-exp
  sum.matrix(e, tokens, hidden); // raw o
  sum.matrix(plan.residual, tokens, hidden); // residual in the middle
  sum.floats(tokens); // second norm's rstd
  for (let i = 0; i < 2; i++) sum.matrix(e, tokens, intermediate); // raw gate, raw up
  sum.matrix(e, tokens, hidden); // raw down
  if (!plan.training || learnsRanges(plan)) return;
  for (const site of quantizedSites(plan)) {
    if (site !== 'attentionOutput') marks(sum, plan, site);
  }
}

/** In the order of the engine's list. */
const ACTIVATION_SITES: readonly ActivationSite[] = [
  'attentionInput',
  'keys',
  'values',
  'rotatedQueries',
  'rotatedKeys',
  'attentionOutput',
  'mlpInput',
  'mlpProduct',
];

export function quantizedSites({ activations }: Pick<EngineLayout, 'activations'>): ActivationSite[] {
  return ACTIVATION_SITES.filter((site) => (activations?.bits[site] ?? null) !== null);
}

/** Columns of the tensor at a site. */
export function activationColumns(site: ActivationSite, plan: EngineLayout): number {
  const { hidden, query, keyValue, intermediate } = widths(plan);
  switch (site) {
    case 'attentionInput':
    case 'mlpInput':
      return hidden;
    case 'keys':
    case 'values':
    case 'rotatedKeys':
      return keyValue;
    case 'rotatedQueries':
    case 'attentionOutput':
      return query;
    case 'mlpProduct':
      return intermediate;
  }
}

/** A bit a number: whether the gradient passes its quantizer. */
function marks(sum: Sum, plan: EngineLayout, site: ActivationSite): void {
  sum.bytes(widths(plan).tokens * Math.ceil(activationColumns(site, plan) / 32) * 4);
}

/** Blocks with activations of their own: the last ones, as the backward begins with them. */
export function ownActivations({ shape, training, activationCheckpointing, keptBlocks = 1 }: EngineLayout): number {
  if (!training) return 1;
  return activationCheckpointing === 'none' ? shape.layers : Math.min(Math.max(keptBlocks, 1), shape.layers);
}

function activations(plan: EngineLayout): number {
  const sum = new Sum();
  const { tokens, hidden } = widths(plan);
  const blocks = ownActivations(plan);
  const checkpointed = plan.training && blocks < plan.shape.layers;
  const shared = plan.training && plan.elementwise === 'recompute';
  for (let i = 0; i < (shared ? 1 : blocks); i++) elementwise(sum, plan);
  for (let i = 0; i < blocks; i++) block(sum, plan, !checkpointed);
  if (checkpointed) {
    for (let i = 0; i < plan.shape.layers; i++) sum.matrix(plan.residual, tokens, hidden);
  }
  sum.matrix(plan.residual, tokens, hidden);
  // The final norm lies over the last block's first one where that can be made again.
  if (!plan.training || plan.elementwise === 'keep') sum.matrix(plan.compute, tokens, hidden);
  sum.floats(tokens);
  if (quantizedSites(plan).includes('attentionOutput')) {
    sum.matrix(plan.compute, tokens, widths(plan).query);
    if (plan.training && !learnsRanges(plan)) marks(sum, plan, 'attentionOutput');
  }
  return sum.highest();
}

/** Rows of logits in memory at once: 2^24 numbers, at least 32 rows; on a GPU no more than a quarter of all where that is 256. */
export function logitRows({ device, shape, microBatchSize, sequenceLength }: EngineLayout): number {
  const tokens = microBatchSize * sequenceLength;
  const quarter = device === 'cuda' ? Math.max(256, Math.ceil(tokens / 4)) : tokens;
  return Math.min(tokens, Math.max(32, Math.floor(2 ** 24 / shape.vocabSize)), quarter);
}

/** Clipped entries of a weight that are listed before the dense gradient takes over. */
export function clippedCapacity(outputs: number, inputs: number): number {
  return Math.max(1024, Math.floor((outputs * inputs) / 32));
}

/** Linears that use the same list of clipped entries, one after the other. */
const clippedSlots: readonly (readonly LinearName[])[] = [
  ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj'],
  ['self_attn.k_proj', 'mlp.up_proj'],
  ['self_attn.v_proj', 'mlp.down_proj'],
];

/** Of every linear its weight, and its list of clipped entries where training has use for one. */
function keptWeights(sum: Sum, plan: EngineLayout): void {
  const { shape, linears, training, compute } = plan;
  for (let layer = 0; layer < shape.layers; layer++) {
    for (const linear of LINEAR_NAMES) {
      const { outputs, inputs } = linearSize(shape, linear);
      sum.bytes(outputs * inputs * byteSize(compute));
      const spec = linears[`model.layers.${String(layer)}.${linear}`];
      if (!training || !spec || (spec.rank === 0 && !trainsZeroPoints(spec))) continue;
      sum.bytes((outputs + 1) * 8);
      sum.bytes(clippedCapacity(outputs, inputs) * 4);
    }
  }
}

function workspace(plan: EngineLayout): number {
  const sum = new Sum();
  const { shape } = plan;
  const { tokens, hidden, query, keyValue, intermediate } = widths(plan);
  const e = plan.compute;
  const sizes = LINEAR_NAMES.map((linear) => linearSize(shape, linear));
  for (let i = 0; i < 3; i++) sum.bytes(tokens * 4); // tokens, targets, first keys
  sum.bytes(16); // losses
  const keep = plan.rebuiltWeights === 'keep';
  if (keep) keptWeights(sum, plan);
  else sum.bytes(Math.max(...sizes.map(({ outputs, inputs }) => outputs * inputs)) * byteSize(e));
  sum.bytes(plan.device === 'cpu' ? scratchBytes(plan) : cudaScratchBytes(plan));
  if (!plan.training) {
    sum.matrix('float32', logitRows(plan), shape.vocabSize);
    return sum.highest();
  }

  sum.matrix('float32', tokens, hidden);
  sum.matrix('float32', tokens, hidden);
  for (let i = 0; i < 3; i++) sum.floats(Math.max(...sizes.map(({ outputs }) => outputs)));
  if (plan.distillation) {
    sum.bytes(tokens * plan.distillation.topK * 4);
    sum.floats(tokens * (plan.distillation.topK + 1));
  }
  if (learnsRanges(plan)) {
    // An activation as it was before its grid.
    sum.matrix(e, tokens, Math.max(...quantizedSites(plan).map((site) => activationColumns(site, plan))));
  }
  for (const slot of keep ? [] : clippedSlots) {
    const slotSizes = slot.map((linear) => linearSize(shape, linear));
    const rows = Math.max(...slotSizes.map(({ outputs }) => outputs));
    if (plan.device === 'cpu') {
      sum.bytes((rows + 1) * 8);
      sum.bytes(Math.max(...slotSizes.map(({ outputs, inputs }) => clippedCapacity(outputs, inputs))) * 4);
    } else {
      sum.bytes(Math.max(...slotSizes.map(({ outputs, inputs }) => outputs * Math.ceil(inputs / 32))) * 4);
      sum.bytes(8); // counters
    }
  }
  // Head, feed-forward half and attention half of the backward follow each other; on a GPU the gradients of raw outputs take
  // their place.
  const inPlace = plan.device === 'cuda';
  const mark = sum.mark();
  sum.matrix('float32', logitRows(plan), shape.vocabSize);
  if (e !== 'float32') sum.matrix(e, logitRows(plan), shape.vocabSize);
  sum.rewind(mark);
  if (!inPlace) {
    for (const width of [intermediate, hidden, intermediate, intermediate]) sum.matrix(e, tokens, width);
  }
  sum.rewind(mark);
  if (!attentionGradientsOverGate(plan)) attentionGradients(sum, plan);
  if (!inPlace) {
    for (const width of [hidden, query, keyValue, keyValue]) sum.matrix(e, tokens, width);
  }
  return sum.highest();
}

/** Of the attention's output, q, k and v. */
function attentionGradients(sum: Sum, plan: EngineLayout): void {
  const { tokens, query, keyValue } = widths(plan);
  for (const width of [query, query, keyValue, keyValue]) sum.matrix(plan.compute, tokens, width);
}

/** On a GPU they lie over the block's raw gate and up, which nothing reads any more then, where there is room. */
function attentionGradientsOverGate(plan: EngineLayout): boolean {
  if (plan.device !== 'cuda') return false;
  const { tokens, intermediate } = widths(plan);
  const gate = new Sum();
  for (let i = 0; i < 2; i++) gate.matrix(plan.compute, tokens, intermediate);
  const gradients = new Sum();
  attentionGradients(gradients, plan);
  return gradients.highest() <= gate.highest();
}
