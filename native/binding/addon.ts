// The TypeScript face of lrqat.node: one class per concept, coarse calls, typed arrays in, plain objects out. Every call that
// computes runs on the engine's own thread and returns a promise; calls on one engine are executed in the order made.
// A rejected promise carries an EngineFailure: `code` to branch on and `hint` to show.

import type { Engine } from './engine';
import type { ComputeType, EngineConfig, MemoryParts } from './engine-config';

export type * from './engine';
export type * from './engine-config';

export type EngineErrorCode =
  | 'InvalidArgument'
  | 'OutOfMemory'
  | 'PlanMismatch'
  | 'Cancelled'
  | 'InputFile'
  | 'NotFinite'
  | 'Unsupported'
  | 'Internal';

/** Shape of the errors that native calls throw or reject with. */
export interface EngineFailure extends Error {
  readonly code: EngineErrorCode;
  /** What would work instead; may be empty. */
  readonly hint: string;
}

export interface CpuInfo {
  readonly isa: string;
  readonly bf16: 'amx' | 'avx512' | 'none';
  readonly logicalCores: number;
  readonly gemm: { readonly library: string; readonly version: string } | null;
}

export interface CudaDevice {
  readonly index: number;
  readonly name: string;
  /** As nvidia-smi -L prints it. */
  readonly uuid: string;
  /** Such as "9.0". */
  readonly computeCapability: string;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** What a GPU reports at a moment; null: nothing of the kind. */
export interface GpuUsage {
  /** Share of the last moments in which it computed, 0 to 1. */
  readonly utilization: number | null;
  readonly watts: number | null;
  readonly celsius: number | null;
  /** Bytes taken by all processes, and all there are. */
  readonly memoryUsed: number | null;
  readonly memoryTotal: number | null;
}

export interface CudaInfo {
  /** CUDA version of the build, and the newest that the driver serves ("0.0": no driver). */
  readonly runtime: string;
  readonly driver: string;
  readonly devices: readonly CudaDevice[];
}

export interface BpeTokenizerOptions {
  /** Contents of tokenizer.json, UTF-8. */
  readonly json: Uint8Array;
}

/** C [rows, columns] = A [rows, inner] · B, with B given as [columns, inner] when transposed. */
export interface GemmProduct {
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  readonly transposeB: boolean;
  /** Element type of C; left out: `compute`. */
  readonly result?: ComputeType;
  /** C += A · B; left out: C = A · B. */
  readonly accumulate?: boolean;
}

export interface LrqatAddon {
  readonly engineVersion: string;
  readonly Engine: new (config: EngineConfig) => Engine;
  /** Looks at the CPU and tries to open `oneDnn`. */
  cpuInfo(oneDnn: string | null): CpuInfo;
  /** Opens the CUDA backend and lists the GPUs. Throws EngineFailure with code Unsupported where there is no driver. */
  cudaInfo(library: string): CudaInfo;
  /** Asks NVIDIA's management library (NVML), which comes with the driver, about a GPU (CudaDevice.uuid); null where there is
   *  no such library or GPU. Cheap enough for every second. */
  gpuUsage(uuid: string): GpuUsage | null;
  /** Scratch memory that the CUDA backend takes for an engine of this configuration, bytes; asks no GPU. For the test of the
   *  planner, which computes the same. */
  cudaScratchBytes(library: string, config: EngineConfig): number;
  /** Memory of an engine of this configuration whose operations take `scratchBytes`; asks neither GPU nor backend. For the
   *  test of the planner. */
  memoryParts(config: EngineConfig, scratchBytes: number): MemoryParts;
  /** Median time of one product as the engine makes it, nothing around it, in memory as the engine has it. */
  gemmCeiling(
    options: GemmProduct & {
      readonly compute: ComputeType;
      readonly threads: number;
      readonly oneDnn: string | null;
      /** The library even where the engine's own products are faster. */
      readonly libraryAlone?: boolean;
    },
  ): Promise<{ readonly seconds: number }>;
  /** Median time to copy `bytes` in memory with so many threads (reads and writes as much). */
  copyTime(options: { readonly bytes: number; readonly threads: number }): Promise<{ readonly seconds: number }>;
  /** A fatal signal of this process appends one line to `logFile` before it dies. POSIX only; elsewhere does nothing. */
  installCrashLog(logFile: string): void;
}
