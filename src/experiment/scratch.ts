// What the CPU's operations take inside one call: the mirror of CpuBackend::scratchBytes and the formulas it calls
// (native/cpu: cpu_backend.cpp, weights.cpp, low_rank.cpp, residual.cpp, attention.cpp).

import { linearSize, type LinearName } from '../formats/model-shape';
import { byteSize, clippedCapacity, laneOf, lanesAtOnce, type EngineLayout } from './engine-layout';
import { quantizedLinears } from './quantized-linears';

/** Columns of a tile of B while a weight is rebuilt. */
const TILE_COLUMNS = 32;
/** Tokens gathered at a time for the correction of clipped entries. */
const TOKEN_STRIDE = 272;
/** Rows and columns of AMX tiles come in pairs. */
const TILE_BLOCK = 32;
/** Tokens whose columns thin products on tiles prepare at a time. */
const THIN_TOKENS = 512;
/** Rows of a dense gradient tile. */
const DENSE_ROWS = 128;

/** Linears that read the same input, so that their thin products are computed together. */
const sharedInputs: readonly (readonly LinearName[])[] = [
  ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  ['self_attn.o_proj'],
  ['mlp.gate_proj', 'mlp.up_proj'],
  ['mlp.down_proj'],
];

/** What a matrix product works in: operands packed for all threads and for each (native/cpu/gemm.cpp), in float32. */
const PACKED_FLOATS_SHARED = 2 ** 20;
const PACKED_FLOATS_PER_THREAD = 2 ** 18;

/** Bytes of the largest operation, and of the matrix product in it; or of one in each of the lanes that work at once. */
export function scratchBytes(plan: EngineLayout): number {
  const whole = operationBytes(plan);
  const { lanes = 1 } = plan;
  if (lanes === 1 || !plan.training) return whole;
  return Math.max(whole, lanesAtOnce(plan) * roundUp(operationBytes(laneOf(plan)), 256));
}

function operationBytes(plan: EngineLayout): number {
  const { shape } = plan;
  const tokens = plan.microBatchSize * plan.sequenceLength;
  const widest = Math.max(
    shape.hiddenSize,
    shape.intermediateSize,
    shape.heads * shape.headDim,
    shape.kvHeads * shape.headDim,
  );
  const quantized = quantizedLinears(plan);
  const needs = [
    attentionBytes(plan),
    elementwiseBytes(tokens, widest),
    ...quantized.map(({ spec, outputs, inputs }) => rebuildBytes(outputs, inputs, spec.rank)),
  ];
  if (plan.training) {
    for (let layer = 0; layer < shape.layers; layer++) {
      for (const group of sharedInputs) {
        const members = quantized.filter((other) => other.layer === layer && group.includes(other.linear));
        const [first] = group;
        if (members.length === 0 || first === undefined) continue;
        const { inputs } = linearSize(shape, first);
        const outputs = Math.max(...members.map((member) => member.outputs));
        const rank = members.reduce((sum, { spec }) => sum + spec.rank, 0);
        const e = byteSize(plan.compute);
        needs.push(
          thinProductBytes(tokens, inputs, outputs, rank, e),
          // Wherever bf16 is computed, as for attention.
          plan.compute === 'bf16' ? thinTileBytes(tokens, inputs, outputs, rank, plan.threads) : 0,
          sparseCorrectionBytes(inputs, outputs, rank),
          denseTileBytes(tokens, inputs, outputs, rank, e),
        );
      }
    }
  }
  return (PACKED_FLOATS_SHARED + plan.threads * PACKED_FLOATS_PER_THREAD) * 4 + Math.max(...needs);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function padded(bytes: number): number {
  return roundUp(bytes, 64);
}

/** Edge of the square blocks of queries and keys, and keys of one forward step (native/cpu/kernels/attention). */
const ATTENTION_BLOCK = 64;
const KEY_STEP = 128;

/** Packed keys and values, work of each thread, and shares of dK and dV; padded so that every instruction set fits. Tiles are
 *  counted wherever bf16 is computed, so that a plan does not depend on the machine. */
function attentionBytes(plan: EngineLayout): number {
  const { shape, threads, microBatchSize, sequenceLength, compute } = plan;
  const { headDim, kvHeads } = shape;
  const parts = groupParts(plan);
  const partial = parts === 1 ? 0 : microBatchSize * kvHeads * parts * 2 * sequenceLength * headDim;
  const bytes = (packed: number, forward: number, backward: number): number =>
    (Math.max(microBatchSize * kvHeads * packed + threads * forward, threads * backward + partial) + 16) * 4;
  const plain = bytes(
    roundUp(roundUp(sequenceLength, 32) * headDim, 16) + roundUp(roundUp(headDim, 32) * sequenceLength, 16),
    roundUp(ATTENTION_BLOCK * headDim, 16) +
      2 * ATTENTION_BLOCK * KEY_STEP +
      ATTENTION_BLOCK * roundUp(headDim, 32) +
      2 * ATTENTION_BLOCK,
    attentionBackwardFloats(sequenceLength, headDim),
  );
  return compute === 'bf16' ? Math.max(plain, attentionTileBytes(sequenceLength, headDim, bytes)) : plain;
}

/** The same with tiles (native/cpu/kernels/attention_tiles.h). */
function attentionTileBytes(
  sequenceLength: number,
  headDim: number,
  bytes: (packed: number, forward: number, backward: number) => number,
): number {
  const length = roundUp(sequenceLength, TILE_BLOCK);
  const depth = roundUp(headDim, TILE_BLOCK);
  const operand = (length * depth) / 2;
  const square = TILE_BLOCK * TILE_BLOCK;
  return bytes(
    2 * operand,
    (TILE_BLOCK * depth) / 2 + KEY_STEP * TILE_BLOCK + (KEY_STEP * TILE_BLOCK) / 2 + depth * TILE_BLOCK,
    7 * operand + 3 * length * depth + 2 * length + 2 * square + 3 * ((4 * square) / 2),
  );
}

function attentionBackwardFloats(length: number, headDim: number): number {
  const rows = roundUp(length, 8) + 8;
  const square = ATTENTION_BLOCK * ATTENTION_BLOCK;
  const buffers = [
    rows * headDim, // K by row
    rows * headDim, // V by row
    roundUp(headDim, 8) * length, // Kᵀ
    roundUp(length, 32) * headDim, // Q and dO over the head dimension
    roundUp(length, 32) * headDim,
    roundUp(headDim, 32) * length, // Q and dO over the queries
    roundUp(headDim, 32) * length,
    roundUp(length, 32), // log-sum-exp
    roundUp(length, 32), // delta
    rows * roundUp(headDim, 32), // dK
    rows * roundUp(headDim, 32), // dV
    roundUp(headDim, 8) * roundUp(length, 32), // dQ
    ...Array.from({ length: 5 }, () => square), // scores, dP, P, dS, packed dS
  ];
  return buffers.reduce((sum, floats) => sum + roundUp(floats, 16), 0);
}

/** Parts into which the query heads of a group are split where there are fewer groups than threads. */
function groupParts({ shape, threads, microBatchSize }: EngineLayout): number {
  const group = shape.heads / shape.kvHeads;
  const items = microBatchSize * shape.kvHeads;
  let parts = 1;
  while (parts < group && items * parts < threads) {
    do {
      parts++;
    } while (group % parts !== 0);
  }
  return parts;
}

/** Sums over tokens in at most 64 blocks of at least 16 rows, for two sets of columns. */
function elementwiseBytes(tokens: number, columns: number): number {
  const blockRows = Math.max(16, Math.ceil(tokens / 64));
  return 2 * Math.ceil(tokens / blockRows) * (Math.ceil(columns / 16) * 16) * 4;
}

function panelElements(rank: number, inputs: number): number {
  return Math.ceil(inputs / TILE_COLUMNS) * TILE_COLUMNS * rank;
}

/** B as tiles, and a bit for each entry that was clipped. */
function rebuildBytes(outputs: number, inputs: number, rank: number): number {
  return padded(4 * panelElements(rank, inputs)) + padded(2 * outputs * Math.ceil(inputs / 16));
}

function thinProductBytes(tokens: number, inputs: number, outputs: number, rank: number, e: number): number {
  return (
    padded(e * rank * inputs) + 2 * padded(e * rank * tokens) + padded(e * rank * outputs) + padded(4 * rank * inputs)
  );
}

/** The same on tiles (native/cpu/thin_tiles.cpp): factors and projections of the ranks of at most three linears, each padded to
 *  whole tiles, and the work of each thread. */
function thinTileBytes(tokens: number, inputs: number, outputs: number, rank: number, threads: number): number {
  const pad = (count: number): number => roundUp(count, TILE_BLOCK);
  const ranks = pad(rank + 2 * (TILE_BLOCK - 1));
  const work = Math.max(
    (TILE_BLOCK * pad(Math.max(inputs, outputs))) / 2 + TILE_BLOCK * TILE_BLOCK,
    (THIN_TOKENS * TILE_BLOCK) / 2 + ranks * TILE_BLOCK,
  );
  return (
    padded(2 * ranks * pad(inputs)) +
    padded(2 * ranks * pad(outputs)) +
    2 * padded(2 * ranks * pad(tokens)) +
    padded(4 * threads * work)
  );
}

function sparseCorrectionBytes(inputs: number, outputs: number, rank: number): number {
  return (
    padded(4 * clippedCapacity(outputs, inputs)) +
    2 * padded(4 * inputs) +
    2 * padded(4 * outputs) +
    padded(4 * TOKEN_STRIDE * inputs) +
    padded(4 * TOKEN_STRIDE * outputs) +
    2 * padded(4 * rank * inputs)
  );
}

function denseTileBytes(tokens: number, inputs: number, outputs: number, rank: number, e: number): number {
  return (
    padded(e * tokens * DENSE_ROWS) +
    padded(4 * DENSE_ROWS * inputs) +
    padded(e === 4 ? 0 : e * DENSE_ROWS * inputs) +
    padded(e * rank * inputs) +
    padded(e * rank * outputs) +
    padded(4 * panelElements(rank, inputs))
  );
}
