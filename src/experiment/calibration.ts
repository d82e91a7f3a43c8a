// How fast a machine does the parts of a step, and the time that follows.

import type { StepCost } from './cost';

/** Rates of a machine with all its threads. */
export interface Calibration {
  /** Large matrix products, floating-point operations a second. */
  readonly gemm: number;
  readonly attention: number;
  /** Products with one thin side (A, B and their gradients). */
  readonly thin: number;
  /** Whole weight gradients: of trained weights and of trained group scales. */
  readonly weightGradients: number;
  /** A·B, rounding and packing while weights are rebuilt, counted by the operations of A·B. */
  readonly rebuild: number;
  /** Bytes a second that are read and written while weights are rebuilt. */
  readonly rebuildBytes: number;
  /** Bytes a second that element-wise operations move. */
  readonly bytes: number;
  /** Time of an evaluation over what follows from the rates above, which are those of training: it does without lanes. */
  readonly evaluation: number;
  /** The same of the float model's answers for distillation. */
  readonly teacher: number;
  /** Of finding a start; null: not known (the start is the processor's, these are the rates of a GPU). */
  readonly start: StartRates | null;
  /** false: guessed from the kind of processor. */
  readonly measured: boolean;
}

/** Operations a second of the processor while it finds a start; by {@link StartCost}. */
export interface StartRates {
  readonly inputs: number;
  readonly rounding: number;
  readonly singular: number;
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
/** The same of the CPU engine while it finds a start: products in float32 among others, factors and singular vectors in double. */
const START_EFFICIENCY: StartRates = { inputs: 0.3, rounding: 0.05, singular: 0.05 };

/** A calibration from one measured number, the rate of large matrix products at the step's own shapes. */
export function calibrationFromGemm(
  gemmFlopsPerSecond: number,
  bytesPerSecond: number,
  efficiency: Efficiency = CPU_EFFICIENCY,
  measured = true,
): Calibration {
  const { inputs, rounding, singular } = START_EFFICIENCY;
  return {
    gemm: gemmFlopsPerSecond,
    attention: gemmFlopsPerSecond * efficiency.attention,
    thin: gemmFlopsPerSecond * efficiency.thin,
    weightGradients: gemmFlopsPerSecond,
    rebuild: gemmFlopsPerSecond * efficiency.rebuild,
    rebuildBytes: bytesPerSecond,
    bytes: bytesPerSecond,
    evaluation: 1,
    teacher: 1,
    start:
      efficiency === GPU_EFFICIENCY
        ? null
        : {
            inputs: gemmFlopsPerSecond * inputs,
            rounding: gemmFlopsPerSecond * rounding,
            singular: gemmFlopsPerSecond * singular,
          },
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

/** What is known of a GPU without asking it to compute. */
export interface GpuFacts {
  readonly name: string;
  /** Such as "9.0". */
  readonly computeCapability: string;
  readonly multiprocessors: number;
  readonly totalBytes: number;
}

interface GpuClass {
  /** Capabilities below this one. */
  readonly below: number;
  /** bf16 tensor-core operations with float32 sums, a cycle and multiprocessor, from the makers' data sheets. */
  readonly bf16: number;
  /** Cycles a second under load. */
  readonly clock: number;
  /** Bytes a second, read and written. */
  readonly bandwidth: number;
}

/** Data centre and consumer cards of a generation differ in capability; unknown ones count as the last of the list. */
const GPU_CLASSES: readonly GpuClass[] = [
  { below: 8.1, bf16: 2048, clock: 1.35e9, bandwidth: 1.6e12 },
  { below: 9, bf16: 512, clock: 1.7e9, bandwidth: 0.8e12 },
  { below: 10, bf16: 4096, clock: 1.6e9, bandwidth: 3.3e12 },
  { below: 12, bf16: 8192, clock: 1.7e9, bandwidth: 7e12 },
  { below: Number.POSITIVE_INFINITY, bf16: 512, clock: 2.3e9, bandwidth: 1.5e12 },
];
/** Float32 operations of the ordinary units, two a lane. */
const GPU_FLOAT32 = 256;
/** What products and copies reach of those numbers at the shapes of a step. */
const GPU_REACHED = { gemm: 0.8, bytes: 0.6 };
/** The generation whose larger cards have the newer memory. */
const LARGE_HOPPER = { from: 100e9, bandwidth: 4.8e12 };

/** A guess from the kind of GPU, for when nothing has been measured on it; good to a factor of two. */
export function guessedGpuCalibration(gpu: GpuFacts, compute: 'float32' | 'bf16'): Calibration {
  const capability = Number.parseFloat(gpu.computeCapability);
  const known = GPU_CLASSES.find(({ below }) => capability < below) ?? GPU_CLASSES.at(-1);
  if (known === undefined) throw new RangeError('no GPU is known');
  const isLargeHopper = Math.floor(capability) === 9 && gpu.totalBytes >= LARGE_HOPPER.from;
  const bandwidth = isLargeHopper ? LARGE_HOPPER.bandwidth : known.bandwidth;
  const perCycle = compute === 'bf16' ? known.bf16 : GPU_FLOAT32;
  const gemm = perCycle * known.clock * gpu.multiprocessors * GPU_REACHED.gemm;
  return calibrationFromGemm(gemm, bandwidth * GPU_REACHED.bytes, GPU_EFFICIENCY, false);
}

/** The same ratios between parts, all `factor` times as fast. */
export function scaledCalibration(rates: Calibration, factor: number): Calibration {
  return { ...rates, ...scaledRates(rates, factor), measured: true };
}

/** @param parts those that are faster; default: all that a step has */
export function scaledRates(
  rates: Calibration,
  factor: number,
  parts: readonly StepRate[] = STEP_RATES,
): Partial<Record<StepRate, number>> {
  return Object.fromEntries(parts.map((part) => [part, rates[part] * factor]));
}

const STEP_RATES = ['gemm', 'attention', 'thin', 'weightGradients', 'rebuild', 'rebuildBytes', 'bytes'] as const;
export type StepRate = (typeof STEP_RATES)[number];

/** Seconds of a step, part by part: they follow each other on one engine thread, or on as many as there are lanes. */
export function secondsByRate({ flops, bytes }: StepCost, rates: Calibration): Readonly<Record<StepRate, number>> {
  return {
    gemm: (flops.linears + flops.head) / rates.gemm,
    attention: flops.attention / rates.attention,
    thin: flops.lowRankGradients / rates.thin,
    weightGradients: flops.groupGradients / rates.weightGradients,
    rebuild: flops.rebuild / rates.rebuild,
    rebuildBytes: bytes.rebuild / rates.rebuildBytes,
    bytes: (bytes.activations + bytes.optimizer) / rates.bytes,
  };
}

/** Seconds of a step. */
export function secondsOf(cost: StepCost, rates: Calibration): number {
  return Object.values(secondsByRate(cost, rates)).reduce((sum, part) => sum + part, 0);
}

/** Seconds of evaluating. */
export function evaluationSecondsOf(cost: StepCost, rates: Calibration): number {
  return secondsOf(cost, rates) * rates.evaluation;
}
