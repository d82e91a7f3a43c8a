// How fast a machine does the parts of a step, and the time that follows.

import type { StepCost } from './cost';

/** Rates of a machine with all its threads. */
export interface Calibration {
  /** Large matrix products, floating-point operations a second. */
  readonly gemm: number;
  readonly attention: number;
  /** Products with one thin side (A, B and their gradients). */
  readonly thin: number;
  /** A·B, rounding and packing while weights are rebuilt, counted by the operations of A·B. */
  readonly rebuild: number;
  /** Bytes a second that element-wise operations move. */
  readonly bytes: number;
  /** false: guessed from the kind of processor. */
  readonly measured: boolean;
}

/** What of the GEMM rate the other parts reach, per kind of machine. */
export interface Efficiency {
  readonly attention: number;
  readonly thin: number;
  readonly rebuild: number;
}

/**
 * Ratios of the CPU engine, from the times by operation of `npm run bench` (two cores with AVX512-BF16): attention 0.60 and 0.43,
 * thin products 0.73 and 0.36, rebuild 0.13 and 0.08 of the GEMM rate at the 28M-parameter shape and the sample.
 */
export const CPU_EFFICIENCY: Efficiency = { attention: 0.5, thin: 0.5, rebuild: 0.1 };
/** Ratios that follow from the H200 bounds of engine.md: thin products are bound by memory there. */
export const GPU_EFFICIENCY: Efficiency = { attention: 0.5, thin: 0.1, rebuild: 0.6 };

/** A calibration from one measured number, the rate of large matrix products at the step's own shapes. */
export function calibrationFromGemm(
  gemmFlopsPerSecond: number,
  bytesPerSecond: number,
  efficiency: Efficiency = CPU_EFFICIENCY,
  measured = true,
): Calibration {
  return {
    gemm: gemmFlopsPerSecond,
    attention: gemmFlopsPerSecond * efficiency.attention,
    thin: gemmFlopsPerSecond * efficiency.thin,
    rebuild: gemmFlopsPerSecond * efficiency.rebuild,
    bytes: bytesPerSecond,
    measured,
  };
}

/** Float32 operations a cycle and core: two FMA units of the vector width; bf16 units do a multiple. */
const FLOPS_PER_CYCLE: Readonly<Record<string, number>> = { baseline: 8, avx2: 32, avx512: 64 };
const BF16_FACTOR: Readonly<Record<'amx' | 'avx512' | 'none', number>> = { amx: 8, avx512: 2, none: 1 };

/** A guess from the kind of processor, for when nothing has been measured; good to a factor of two. */
export function guessedCalibration(cpu: {
  readonly isa: string;
  readonly bf16: 'amx' | 'avx512' | 'none';
  readonly cores: number;
  readonly compute: 'float32' | 'bf16';
}): Calibration {
  const perCore = (FLOPS_PER_CYCLE[cpu.isa] ?? 8) * 2.5e9 * 0.6 * (cpu.compute === 'bf16' ? BF16_FACTOR[cpu.bf16] : 1);
  return calibrationFromGemm(perCore * cpu.cores, Math.min(cpu.cores * 6e9, 150e9), CPU_EFFICIENCY, false);
}

/** Seconds of a step or evaluation batch: parts follow each other on one engine thread. */
export function secondsOf({ flops, bytes }: StepCost, rates: Calibration): number {
  const { gemm, attention, thin, rebuild } = rates;
  return (
    (flops.linears + flops.head + flops.groupGradients) / gemm +
    flops.attention / attention +
    flops.lowRankGradients / thin +
    flops.rebuild / rebuild +
    (bytes.activations + bytes.rebuild + bytes.optimizer) / rates.bytes
  );
}
