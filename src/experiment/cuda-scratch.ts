// What the CUDA backend's operations take inside one call: the mirror of native/cuda/scratch_plan.cpp and the formulas it calls
// (native/cuda/low_rank.cpp, native/cuda/kernels). A test compares the two, without a GPU, where the backend is built.

import type { LinearQuantization } from '../../native/binding/addon';
import { linearSize, type LinearName } from '../formats/model-shape';
import { floatParameters } from './float-parameters';
import { learnsRanges } from './activation-grids';
import { logitRows, type EngineLayout } from './engine-layout';
import { quantizedLinears, trainsWeights, trainsZeroPoints } from './quantized-linears';

const MIB = 2 ** 20;

/** Workspace of cuBLASLt. */
const GEMM_WORKSPACE = 32 * MIB;
/** Weights on their way from host memory to the device. */
const STAGING_PANEL = 8 * MIB;

/** Products with one thin side: ranks are padded to a step; tiles of kept results, chunks of the summed side, blocks in flight. */
const THIN = { step: 32, tile: 128, chunk: 64, units: 264 } as const;
/** Lists of clipped entries: columns of a panel, rows of a block; entries and blocks of the sampled products. */
const CLIPPED = { panelColumns: 4096, blockRows: 32, entries: 512 * 18, blocks: 264 } as const;
/** Elements of a panel of the dense gradient. */
const PANEL_ELEMENTS = 2 ** 22;

/** Linears that read the same input. */
const sharedInputs: readonly (readonly LinearName[])[] = [
  ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  ['self_attn.o_proj'],
  ['mlp.gate_proj', 'mlp.up_proj'],
  ['mlp.down_proj'],
];

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** Scratch allocations start at multiples of 256 bytes. */
function padded(bytes: number): number {
  return roundUp(bytes, 256);
}

/** Bytes of the largest operation, and the workspace of cuBLASLt. */
export function cudaScratchBytes(plan: EngineLayout): number {
  const { shape, microBatchSize, sequenceLength } = plan;
  const tokens = microBatchSize * sequenceLength;
  const quantized = quantizedLinears(plan);
  const needs = [
    padded(STAGING_PANEL),
    padded(24) + padded(128 * 8), // statistics of a weight
    padded(logitRows(plan) * 8), // losses of the rows
    ...quantized.map(({ spec, outputs }) => quantizeBytes(spec.groupSize === 0, outputs)),
    ...quantized
      .filter(({ spec }) => trainsWeights(spec))
      .map(({ spec, outputs }) => trainedWeightBytes(spec, outputs)),
  ];
  if ((plan.activations?.staticRanges ?? null) !== null) needs.push(padded(256 * 8)); // ranges of parts of a tensor
  if (learnsRanges(plan)) needs.push(padded(256 * 16)); // sums of parts of a tensor
  if (!plan.training) return GEMM_WORKSPACE + Math.max(...needs);

  const learnedGrids = learnsRanges(plan) ? (plan.activations?.staticRanges?.symmetric === true ? 1 : 2) : 0;
  const trained = quantized.reduce(
    (count, { spec }) =>
      count +
      (spec.rank > 0 ? 2 : 0) +
      (spec.learnScales ? 1 : 0) +
      (trainsZeroPoints(spec) ? 1 : 0) +
      (trainsWeights(spec) ? 1 : 0),
    floatParameters(shape, plan.trainedFloats).length + learnedGrids,
  );
  needs.push(
    padded(microBatchSize * shape.heads * roundUp(sequenceLength, 128) * 8), // statistics of the softmax
    columnSumsBytes(tokens, shape.hiddenSize),
    rowTileSumsBytes(tokens, shape.hiddenSize),
    2 * columnSumsBytes(tokens, shape.intermediateSize),
    rowTileSumsBytes(tokens, shape.heads * shape.headDim), // those of the weights of norms are no larger
    padded(1024 * 8), // squared norm
    padded(trained * 56), // table of the optimiser
    plan.distillation ? padded(logitRows(plan) * 16) : 0, // losses and divergences of the rows
  );
  for (let layer = 0; layer < shape.layers; layer++) {
    for (const group of sharedInputs) {
      const members = quantized.filter((other) => other.layer === layer && group.includes(other.linear));
      const [first] = group;
      if (members.length === 0 || first === undefined) continue;
      const n = linearSize(shape, first).inputs;
      const m = Math.max(...members.map(({ outputs }) => outputs));
      const rankSum = members.reduce((sum, { spec }) => sum + roundUp(spec.rank, THIN.step), 0);
      needs.push(thinBytes(tokens, n, m, rankSum), clippedBytes(n, m, rankSum), denseBytes(n, m, rankSum));
    }
  }
  return GEMM_WORKSPACE + Math.max(...needs);
}

/** A panel of the weight; per tensor the losses of all candidates by row, and by block of rows. */
function quantizeBytes(perTensor: boolean, outputs: number): number {
  const panel = padded(STAGING_PANEL) + padded(16);
  if (!perTensor) return panel;
  return panel + padded(Math.min(outputs, 4096) * 100 * 8) + padded(Math.ceil(outputs / 64) * 100 * 8);
}

/** Statistics of a weight that is trained itself, and of one scale for all of it the sums by row. */
function trainedWeightBytes({ groupSize }: LinearQuantization, outputs: number): number {
  const statistics = padded(32) + padded(128 * 8) + padded(STAGING_PANEL);
  return Math.max(statistics, groupSize === 0 ? padded(outputs * 16) : 0);
}

function columnSumsBytes(rows: number, columns: number): number {
  return padded(Math.ceil(rows / 64) * columns * 4);
}

/** Tiles of whole rows: at most 256, of at least 4 rows. */
function rowTileSumsBytes(rows: number, columns: number): number {
  const size = rows > 4 * 256 ? Math.ceil(rows / 256) : 4;
  return padded(Math.ceil(rows / size) * columns * 4);
}

function partialBytes(keptTimesThin: number, widestThin: number): number {
  return 4 * (keptTimesThin + THIN.units * THIN.tile * widestThin);
}

function thinBytes(tokens: number, n: number, m: number, rankSum: number): number {
  const t = roundUp(tokens, THIN.tile);
  const overColumns = partialBytes(2 * rankSum * t, rankSum);
  const overRows = partialBytes(rankSum * (roundUp(n, THIN.tile) + roundUp(m, THIN.tile)), rankSum);
  return 4 * rankSum * (roundUp(n, THIN.chunk) + roundUp(m, THIN.chunk) + 2 * t) + Math.max(overColumns, overRows);
}

function clippedBytes(n: number, m: number, rankSum: number): number {
  const weights = rankSum / THIN.step;
  const capacity = Math.max(1024, Math.floor((m * n) / 128));
  const rowBlocks = Math.ceil(m / CLIPPED.blockRows);
  const blocks = Math.ceil(n / CLIPPED.panelColumns) * rowBlocks;
  const tiles = Math.ceil(n / 32) * rowBlocks;
  const lists =
    padded(4 * blocks) +
    padded(4 * (blocks * CLIPPED.blockRows + 1)) +
    padded(4 * (tiles + 1)) +
    padded(4 * capacity) +
    padded(8 * capacity);
  const total = weights * capacity;
  const products = padded(4) + padded(4 * total) + padded(4 * Math.max(CLIPPED.blocks * CLIPPED.entries, total));
  return weights * lists + products + padded(4 * rankSum * n);
}

function denseBytes(n: number, m: number, rankSum: number): number {
  const rows = roundUp(Math.min(m, Math.ceil(PANEL_ELEMENTS / n)), THIN.tile);
  const columns = roundUp(n, THIN.chunk);
  return (
    padded(4 * rows * n) +
    4 * rows * columns +
    padded(rows * roundUp(n, 8)) +
    padded(8 * rows) +
    4 * rankSum * (columns + roundUp(m, THIN.chunk)) +
    partialBytes(2 * rankSum * (rows + roundUp(n, THIN.tile)), rankSum)
  );
}
