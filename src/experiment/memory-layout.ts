// The engine's allocations, buffer by buffer: the mirror of native/core/memory_plan.cpp, which holds the same lists in the
// same order. The engine compares its own sums with these to the byte and refuses to start when they differ.

import type { ActivationSite, ComputeType, LinearQuantization, MemoryParts } from '../../native/binding/addon';
import { hasBias } from '../formats/model-parameters';
import { LINEAR_NAMES, linearSize, type LinearName } from '../formats/model-shape';
import {
  activationColumns,
  learnsRanges,
  quantizedSites,
  staticGrids,
  trainedActivationNumbers,
} from './activation-grids';
import { cudaScratchBytes } from './cuda-scratch';
import {
  byteSize,
  clippedCapacity,
  laneLogitRows,
  laneOf,
  lanesAtOnce,
  logitRows,
  ownActivations,
  widths,
  type EngineLayout,
} from './engine-layout';
import { elementsOf, floatParameters } from './float-parameters';
import {
  codeBits,
  packedRowBytes,
  quantizedLinears,
  scaleCount,
  trainedNumbers,
  trainsWeights,
  trainsZeroPoints,
  zeroPointCount,
  type QuantizedLinear,
} from './quantized-linears';
import { scratchBytes } from './scratch';

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
    gradients: (plan.lanes ?? 1) * gradients(plan),
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

/** Gradients of one lane. */
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

/** A bit a number: whether the gradient passes its quantizer. */
function marks(sum: Sum, plan: EngineLayout, site: ActivationSite): void {
  sum.bytes(widths(plan).tokens * Math.ceil(activationColumns(site, plan) / 32) * 4);
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
  const { tokens, hidden } = widths(plan);
  const e = plan.compute;
  const sizes = LINEAR_NAMES.map((linear) => linearSize(shape, linear));
  for (let i = 0; i < 3; i++) sum.bytes(tokens * 4); // tokens, targets, first keys
  sum.bytes(16); // losses
  const keep = plan.rebuiltWeights === 'keep';
  if (keep) keptWeights(sum, plan);
  else sum.bytes(Math.max(...sizes.map(({ outputs, inputs }) => outputs * inputs)) * byteSize(e));
  sum.bytes(plan.device === 'cpu' ? scratchBytes(plan) : cudaScratchBytes(plan));
  if (!plan.training) {
    for (let i = 0; i < 3; i++) sum.bytes(tokens * 4); // hidden keys (from, to), positions
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
  const mark = sum.mark();
  phases(sum, plan, logitRows(plan));
  const { lanes = 1 } = plan;
  if (lanes === 1) return sum.highest();
  // Lanes work while the whole micro-batch does not.
  sum.rewind(mark);
  const one = laneOf(plan);
  const own = new Sum();
  phases(own, one, laneLogitRows(plan, widths(one).tokens));
  for (let worker = 0; worker < lanesAtOnce(plan); worker++) {
    for (let i = 0; i < 3; i++) sum.floats(Math.max(...sizes.map(({ outputs }) => outputs)));
    sum.bytes(own.highest());
  }
  for (let lane = 0; lane < lanes; lane++) sum.bytes(16); // losses
  return sum.highest();
}

/** Head, feed-forward half and attention half of the backward follow each other; on a GPU the gradients of raw outputs take their
 *  place. */
function phases(sum: Sum, plan: EngineLayout, rowsOfLogits: number): void {
  const { tokens, hidden, query, keyValue, intermediate } = widths(plan);
  const e = plan.compute;
  const inPlace = plan.device === 'cuda';
  const mark = sum.mark();
  sum.matrix('float32', rowsOfLogits, plan.shape.vocabSize);
  if (e !== 'float32') sum.matrix(e, rowsOfLogits, plan.shape.vocabSize);
  sum.rewind(mark);
  if (!inPlace) {
    for (const width of [intermediate, hidden, intermediate, intermediate]) sum.matrix(e, tokens, width);
  }
  sum.rewind(mark);
  if (!attentionGradientsOverGate(plan)) attentionGradients(sum, plan);
  if (!inPlace) {
    for (const width of [hidden, query, keyValue, keyValue]) sum.matrix(e, tokens, width);
  }
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
