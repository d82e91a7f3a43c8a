// What training starts from, and what of it has to be found before the first step.

import { byteSize, type EngineLayout } from './engine-layout';
import { packedRowBytes, codeBits, quantizedLinears, type QuantizedLinear } from './quantized-linears';
import type { Experiment } from './schema';

/** The method changes numbers step by step; the others only round. */
export function isTrained({ quantization: { method } }: Pick<Experiment, 'quantization'>): boolean {
  return method !== 'rtn' && method !== 'gptq';
}

/** What a run has to find before its first step. */
export interface Start {
  /** Integers and scales of GPTQ. */
  readonly gptq: boolean;
  /** Times that A·B is found from what rounding leaves; null: it starts at zero. */
  readonly lowRank: number | null;
}

/** null: round-to-nearest, which follows from the scales. */
export function startOf(experiment: Pick<Experiment, 'quantization'>): Start | null {
  const { method, start } = experiment.quantization;
  // Trained weights start from the checkpoint.
  const from = method === 'lr-qat' || method === 'peqa' ? start.integers : 'round-to-nearest';
  const gptq = method === 'gptq' || from === 'gptq';
  const lowRank = method === 'lr-qat' && start.lowRank === 'svd' ? start.iterations : null;
  return gptq || lowRank !== null ? { gptq, lowRank } : null;
}

/** Bytes that finding a start takes beside the engine that it is found on, as native/core/start_memory.cpp counts them. */
export function startWorkBytes(plan: EngineLayout, start: Start, tokens: number): number {
  const linears = quantizedLinears(plan);
  const most = (value: (linear: (typeof linears)[number]) => number): number => Math.max(0, ...linears.map(value));
  const widest = most(({ inputs }) => inputs);
  const group = most(({ spec }) => Math.max(0, spec.groupSize));
  const weights = most(({ outputs, inputs }) => outputs * inputs);
  const codes = most(({ spec, outputs, inputs }) => outputs * packedRowBytes(codeBits(spec), inputs));
  const decomposition = start.lowRank === null ? 0 : most(decompositionBytes);
  const bytes = weights * 8 + codes + decomposition;
  if (!start.gptq) return bytes;
  const stream = tokens * plan.shape.hiddenSize * byteSize(plan.residual);
  // The Gram matrix in float32, its factor in double, a tile of columns a thread.
  const factor = widest * widest * (4 + 8) + widest * (16 + TILE * plan.threads * 8);
  const rows = ROWS * (8 * widest + 8 * Math.max(BLOCK, group) + 4 * group + 8);
  return bytes + stream + factor + rows;
}

/** kPanel of native/core/input_factor.cpp; kRows and kBlock of gptq.cpp. */
const TILE = 64;
const ROWS = 256;
const BLOCK = 128;

/** Of native/core/low_rank_approximation.cpp. */
function decompositionBytes({ spec: { rank }, outputs, inputs }: QuantizedLinear): number {
  if (rank === 0) return 0;
  const small = Math.min(outputs, inputs);
  if (small <= EXACT_SIDE) return 8 * (3 * outputs * inputs + 2 * small * small);
  const directions = Math.min(rank + EXTRA_DIRECTIONS, small);
  return 8 * (outputs * inputs + 2 * directions * (outputs + inputs) + 2 * directions * directions);
}

/** Matrices with a side up to this are decomposed as a whole, of others so many directions beside the wanted ones are followed. */
export const EXACT_SIDE = 256;
export const EXTRA_DIRECTIONS = 16;
