// Work of finding what training starts from (engine_start.cpp): GPTQ's integers, and A·B from singular values.

import { linearSize, type LinearName } from '../formats/model-shape';
import type { StartRates } from './calibration';
import { evaluationCost, sumOf } from './cost';
import type { EngineLayout } from './engine-layout';
import { quantizedLinears, type QuantizedLinear } from './quantized-linears';
import { EXACT_SIDE, EXTRA_DIRECTIONS, type Start } from './start';

/** Floating-point operations by what they are for. */
export interface StartCost {
  /** What the linears read: blocks computed anew, and XᵀX. */
  readonly inputs: number;
  /** GPTQ itself: the factor of the damped inverse, and the error of every column spread over those after it. */
  readonly rounding: number;
  /** Leading singular vectors of what rounding leaves. */
  readonly singular: number;
}

/** One of the linears for each different input of a block. */
const READERS: readonly LinearName[] = ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.down_proj'];
/** Parts of a block that its linears need before they can be rounded: up to the attention, to the MLP and to its product. */
const PASSES_IN_BLOCK = 1.5;
/** XᵀX is made in float32, which takes the time of so many operations in bf16. */
const FLOAT32 = 4;
/** Products with the matrix and its transpose, and sweeps of rotations over all pairs of rows (low_rank_approximation.cpp). */
const PRODUCTS = 2 * 8 + 2;
const SWEEPS = 10;

/** @param plan the engine that the start is found on
 *  @param tokens of the calibration */
export function startCost(plan: EngineLayout, start: Start, tokens: number): StartCost {
  const { shape } = plan;
  const linears = quantizedLinears(plan);
  const singular =
    start.lowRank === null
      ? 0
      : start.lowRank *
        sumOf(
          linears.filter(({ spec }) => spec.rank > 0),
          singularOperations,
        );
  if (!start.gptq) return { inputs: 0, rounding: 0, singular };
  const once = evaluationCost(plan);
  const passed = ((once.flops.linears + once.flops.attention) * tokens) / (plan.microBatchSize * plan.sequenceLength);
  // Nothing reads what the last block gives.
  const passes = PASSES_IN_BLOCK + (shape.layers - 1) / shape.layers;
  const widths = READERS.map((linear) => linearSize(shape, linear).inputs);
  const grams = sumOf(widths, (n) => 2 * tokens * n * n) * shape.layers * (plan.compute === 'bf16' ? FLOAT32 : 1);
  const factors = sumOf(widths, (n) => n ** 3) * shape.layers;
  const errors = sumOf(linears, ({ outputs, inputs }) => outputs * inputs * inputs);
  return { inputs: passed * passes + grams, rounding: factors + errors, singular };
}

function singularOperations({ spec, outputs, inputs }: QuantizedLinear): number {
  const small = Math.min(outputs, inputs);
  // Three sums over a pair of rows, and a rotation of them and of what keeps account of the rotations.
  const rotations = (rows: number, length: number): number => SWEEPS * (rows ** 2 / 2) * (12 * length + 6 * rows);
  if (small <= EXACT_SIDE) return rotations(small, Math.max(outputs, inputs));
  const directions = Math.min(spec.rank + EXTRA_DIRECTIONS, small);
  return 2 * outputs * inputs * directions * PRODUCTS + rotations(directions, small);
}

/** Seconds, where the parts follow each other. */
export function startSecondsOf({ inputs, rounding, singular }: StartCost, rates: StartRates): number {
  return inputs / rates.inputs + rounding / rates.rounding + singular / rates.singular;
}
