// choices.json: every automatic choice of a run, made once at its start, stored and applied again by every later attempt, so
// that a resumed run computes the same bits (engine.md, Determinism and resume).

import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ComputeType, CpuInfo, DeviceConfig, MemoryParts } from '../../native/binding/addon';
import { UserError } from '../errors';
import {
  formatBytes,
  multipliesBf16,
  planRun,
  planStart,
  usableMemory,
  type Experiment,
  type Machine as PlannedMachine,
} from '../experiment';
import { writeFileAtomic, type FileSystem } from '../formats/file-system';
import type { HuggingFaceModel } from '../formats/hugging-face-model';
import type { ModelShape } from '../formats/model-shape';
import { chooseGpu, type CudaProbe, type GpuChoice } from '../launch/gpu';
import { deviceFromQueue } from '../launch/queue-device';
import { jsonText, readJson } from '../runs/json-file';

export const CHOICES_SCHEMA = 2;

/** The GPU of a run. */
export interface ChosenGpu {
  readonly index: number;
  readonly name: string;
  readonly computeCapability: string;
  /** CUDA versions of the build and of the driver. */
  readonly runtime: string;
  readonly driver: string;
  /** File of the library for matrix products. */
  readonly cublasLt: string;
}

export interface Choices {
  readonly schema: number;
  readonly device: 'cpu' | 'cuda';
  /** null: the run computes on the CPU. */
  readonly gpu: ChosenGpu | null;
  readonly processor: string;
  readonly engineVersion: string;
  /** Instruction set of our own loops. */
  readonly isa: string;
  /** Instructions of what is computed in bf16; runs of earlier versions did not store them. */
  readonly bf16?: CpuInfo['bf16'];
  /** Library of the matrix products; null: the built-in ones. */
  readonly gemm: { readonly library: string; readonly version: string } | null;
  readonly compute: ComputeType;
  readonly threads: number;
  readonly activationCheckpointing: 'none' | 'block';
  /** With block checkpointing, of the last blocks: those whose activations are kept all the same. Runs of earlier versions did not
   *  store it; theirs was 1. */
  readonly keptBlocks?: number;
  /** Runs of earlier versions did not store it; theirs were rebuilt. */
  readonly rebuiltWeights?: 'rebuild' | 'keep';
  /** Runs of earlier versions did not store it; theirs was 1. */
  readonly lanes?: number;
  readonly embeddings: 'device' | 'host';
  readonly optimizerState: 'device' | 'host';
  /** Bytes the engine might take at most, and what it takes. */
  readonly memoryLimit: number;
  readonly plan: MemoryParts;
  /** Identity of the tokens of each text. */
  readonly data: Readonly<Record<string, string>>;
  /** What config.json said; runs of earlier versions did not store it. */
  readonly model?: ModelShape;
}

/** What this machine and build offer. */
export interface Machine {
  readonly cpu: CpuInfo;
  readonly cuda: CudaProbe;
  readonly engineVersion: string;
  readonly processor: string;
  readonly availableCores: number;
  readonly memoryBytes: number;
}

export function thisMachine(cpu: CpuInfo, cuda: CudaProbe, engineVersion: string): Machine {
  return {
    cpu,
    cuda,
    engineVersion,
    processor: os.cpus()[0]?.model.trim() ?? 'unknown',
    availableCores: Math.min(cpu.logicalCores, os.availableParallelism()),
    memoryBytes: usableMemory(),
  };
}

export interface ChoiceInput {
  readonly experiment: Experiment;
  readonly shape: ModelShape;
  readonly machine: Machine;
  readonly data: Readonly<Record<string, string>>;
  /** The device that the queue has given the run; null: it was not queued. */
  readonly queued: string | null;
}

/** @throws UserError DeviceUnavailable, OutOfMemory */
export function makeChoices({ experiment, shape, machine, data, queued }: ChoiceInput): Choices {
  const { cpu } = machine;
  const gpu = chooseGpu(deviceFromQueue(experiment.device, queued, machine.cuda), machine.cuda);
  const planned = machineForPlan(machine, gpu);
  const plan = planRun(experiment, shape, planned);
  if (!plan.fits) {
    throw new UserError(
      'OutOfMemory',
      `memoryLimit: the run needs ${formatBytes(plan.memory.total)}, ${formatBytes(plan.memoryLimit)} are allowed`,
      { hint: whatNeedsLess(experiment, (other) => planRun(other, shape, planned).memory.total) },
    );
  }
  // The start of a run on a GPU is found in host memory, which memoryLimit does not bound.
  const start = plan.device === 'cpu' ? planStart(experiment, plan) : null;
  if (start !== null && start > plan.memoryLimit) {
    throw new UserError(
      'OutOfMemory',
      `memoryLimit: finding the start of the run needs ${formatBytes(start)}, ${formatBytes(plan.memoryLimit)} are allowed`,
      { hint: startThatNeedsLess(experiment) },
    );
  }
  return {
    schema: CHOICES_SCHEMA,
    device: plan.device,
    gpu: gpu === null ? null : chosenGpu(gpu, machine),
    processor: machine.processor,
    engineVersion: machine.engineVersion,
    isa: cpu.isa,
    bf16: cpu.bf16,
    gemm: cpu.gemm,
    compute: plan.compute,
    threads: plan.threads,
    activationCheckpointing: plan.activationCheckpointing,
    keptBlocks: plan.keptBlocks,
    rebuiltWeights: plan.rebuiltWeights,
    lanes: plan.lanes,
    embeddings: plan.embeddings,
    optimizerState: plan.optimizerState,
    memoryLimit: plan.memoryLimit,
    plan: plan.memory.parts,
    data,
    model: shape,
  };
}

/** @param gpu null: the run computes on the processor */
export function machineForPlan(machine: Machine, gpu: GpuChoice | null): PlannedMachine {
  return {
    totalMemory: gpu === null ? machine.memoryBytes : gpu.device.freeBytes,
    cores: Math.max(1, machine.availableCores),
    nativeBf16: multipliesBf16(machine.cpu),
    device: gpu === null ? 'cpu' : 'cuda',
  };
}

function startThatNeedsLess({ quantization }: Experiment): string {
  const { method, gptq, start } = quantization;
  const calibrates = method === 'gptq' || start.integers === 'gptq';
  const others = method === 'gptq' ? 'quantization.method "rtn"' : 'quantization.start with neither "gptq" nor "svd"';
  const fewer = calibrates ? `Fewer quantization.gptq.sequences than ${String(gptq.sequences)}, a` : 'A';
  return `${fewer} smaller training.microBatchSize, or ${others} needs less; see lrqat estimate.`;
}

function whatNeedsLess(experiment: Experiment, totalOf: (experiment: Experiment) => number): string {
  const smaller = 'smaller training.microBatchSize or data.sequenceLength needs less; see lrqat estimate.';
  if (experiment.quantization.method !== 'lsq') return `A ${smaller}`;
  const lowRank = { ...experiment, quantization: { ...experiment.quantization, method: 'lr-qat' as const } };
  return `Method "lsq" trains every weight, 16 bytes each; quantization.method "lr-qat" would take ${formatBytes(totalOf(lowRank))}. A ${smaller}`;
}

function chosenGpu({ device, cublasLt }: GpuChoice, { cuda }: Machine): ChosenGpu {
  const { index, name, computeCapability } = device;
  return {
    index,
    name,
    computeCapability,
    runtime: cuda.info?.runtime ?? '',
    driver: cuda.info?.driver ?? '',
    cublasLt,
  };
}

/** Where the engine of these choices computes. On another machine, or after the GPUs have changed places, a GPU of the same name
 *  serves as well.
 *  @throws UserError DeviceUnavailable */
export function deviceOf({ gpu }: Pick<Choices, 'gpu'>, { cuda }: Machine): DeviceConfig {
  if (gpu === null) return { type: 'cpu' };
  const devices = cuda.info?.devices ?? [];
  const same =
    devices.find(({ index, name }) => index === gpu.index && name === gpu.name) ??
    devices.find(({ name }) => name === gpu.name);
  return deviceConfig(chooseGpu(same === undefined ? 'cuda' : `cuda:${String(same.index)}`, cuda));
}

export function deviceConfig(gpu: GpuChoice | null): DeviceConfig {
  if (gpu === null) return { type: 'cpu' };
  const { index, uuid } = gpu.device;
  return { type: 'cuda', index, uuid, library: gpu.library, cublasLt: gpu.cublasLt };
}

/** What of the stored choices cannot be had here, each as a line for people; such a run still makes sense, but does not compute
 *  the same bits. */
export function departures(stored: Choices, machine: Machine): string[] {
  const gemm = (library: Choices['gemm']): string =>
    library === null ? 'the built-in matrix products' : `${library.library} ${library.version}`;
  const gpu =
    stored.gpu === null ? null : (machine.cuda.info?.devices ?? []).find(({ name }) => name === stored.gpu?.name);
  const compared: readonly (readonly [name: string, before: string, now: string])[] = [
    ['engine', stored.engineVersion, machine.engineVersion],
    ...(stored.gpu === null
      ? []
      : ([
          ['GPU', stored.gpu.name, gpu?.name ?? machine.cuda.info?.devices[0]?.name ?? 'none'],
          ['CUDA of the build', stored.gpu.runtime, machine.cuda.info?.runtime ?? 'none'],
          ['driver', stored.gpu.driver, machine.cuda.info?.driver ?? 'none'],
          ['cuBLASLt', stored.gpu.cublasLt, machine.cuda.cublasLt ?? 'none'],
        ] as const)),
    ['processor', stored.processor, machine.processor],
    ['instruction set', stored.isa, machine.cpu.isa],
    ...(stored.gpu !== null || stored.compute !== 'bf16' || stored.bf16 === undefined
      ? []
      : ([['bf16 instructions', stored.bf16, machine.cpu.bf16]] as const)),
    // The built-in products are always there.
    ['matrix products', gemm(stored.gemm), gemm(stored.gemm === null ? null : machine.cpu.gemm)],
  ];
  return compared
    .filter(([, before, now]) => before !== now)
    .map(([name, before, now]) => `${name}: ${before} → ${now}`);
}

/** @throws UserError DataChanged: the position in the data would mean other text. */
export function requireSameData(stored: Choices, data: Readonly<Record<string, string>>): void {
  for (const [name, identity] of Object.entries(stored.data)) {
    if (data[name] === identity) continue;
    throw new UserError('DataChanged', `data: ${name} is not the text this run was started with`, {
      hint: 'Restore the files, or start a new run.',
    });
  }
}

/** @throws UserError ModelChanged: the same weights would mean another function. */
export function requireSameModel(
  { model: stored }: Choices,
  { folder, shape }: Pick<HuggingFaceModel, 'folder' | 'shape'>,
): void {
  // How long a sequence may be changes nothing of what is computed.
  const { maxPositions: _, ...compared } = shape;
  for (const [key, value] of Object.entries(compared)) {
    const before = stored?.[key as keyof ModelShape];
    // A later version may know more of a model.
    if (before === undefined || isDeepStrictEqual(before, value)) continue;
    throw new UserError(
      'ModelChanged',
      `${path.join(folder, 'config.json')}: ${key} is ${JSON.stringify(value)}, this run was started with ${JSON.stringify(before)}`,
      { hint: 'Restore the file, or start a new run.' },
    );
  }
}

export function choicesFile(runDirectory: string): string {
  return path.join(runDirectory, 'choices.json');
}

/** null: the run has not got that far. */
export async function readChoices(runDirectory: string): Promise<Choices | null> {
  const file = choicesFile(runDirectory);
  const value = await readJson(file);
  if (value === undefined) return null;
  if (typeof value !== 'object' || value === null || !('schema' in value) || value.schema !== CHOICES_SCHEMA) {
    throw new UserError(
      'DamagedFile',
      `${file}: not the choices of a run (schema ${String(CHOICES_SCHEMA)} expected)`,
      {
        hint: 'The run was made by another version; start a new one.',
      },
    );
  }
  return value as Choices;
}

export async function writeChoices(fileSystem: FileSystem, runDirectory: string, choices: Choices): Promise<void> {
  await writeFileAtomic(fileSystem, choicesFile(runDirectory), jsonText(choices), { sync: true });
}

/**
 * Asks the native code, before it is loaded, for the instruction set of the earlier attempts where this processor has a
 * wider one.
 */
export function requestInstructionSet(isa: string): void {
  if (isa === 'baseline' || isa === 'avx2') process.env['LRQAT_ISA_LIMIT'] ??= isa;
}
