// The planner: what an experiment allocates on a machine, and the choices that "auto" leaves to it.

import type { GpuFacts } from './calibration';
import type { ComputeType, CpuInfo, LinearQuantization, MemoryParts } from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';
import { resolveActivations } from './activations';
import { distillationOf } from './distillation';
import { trainedFloats } from './float-groups';
import { resolveLinears } from './linears';
import type { EngineLayout } from './engine-layout';
import { chooseLanes } from './lanes';
import { memoryParts, totalBytes } from './memory-layout';
import { memoryLimitBytes } from './memory-limit';
import type { Experiment } from './schema';
import { isTrained, startOf, startWorkBytes } from './start';

/** What of the layout follows from the device unless it is decided otherwise. */
type DeviceLayout = Pick<EngineLayout, 'device' | 'residual' | 'elementwise' | 'embeddings' | 'optimizerState'>;

export type PlanInput = Omit<EngineLayout, keyof DeviceLayout> & Partial<DeviceLayout>;

export interface MemoryPlan {
  readonly parts: MemoryParts;
  /** Sum of the parts, bytes. */
  readonly total: number;
}

/** Bytes by part, as the engine will allocate them to the byte. */
export function planMemory(input: PlanInput): MemoryPlan {
  const parts = memoryParts(layoutOf(input));
  return { parts, total: totalBytes(parts) };
}

/** A GPU keeps its residual stream in the compute type, and makes what element-wise operations gave again in the backward:
 *  there memory is what is short. */
export function deviceLayout(
  device: EngineLayout['device'],
  compute: ComputeType,
): Pick<EngineLayout, 'residual' | 'elementwise'> {
  return device === 'cuda'
    ? { residual: compute, elementwise: 'recompute' }
    : { residual: 'float32', elementwise: 'keep' };
}

export function layoutOf({ device = 'cpu', ...input }: PlanInput): EngineLayout {
  return {
    device,
    embeddings: 'device',
    optimizerState: 'device',
    ...deviceLayout(device, input.compute),
    ...input,
  };
}

/** What the planner must know about the machine. */
export interface Machine {
  /** Bytes of memory the engine draws on: the machine's, or those that are free on the GPU. */
  readonly totalMemory: number;
  readonly cores: number;
  /** See {@link multipliesBf16}. */
  readonly nativeBf16: boolean;
  /** Where the run would compute; default: the CPU. */
  readonly device?: EngineLayout['device'];
  /** Of the GPU, where that is the device. */
  readonly gpu?: GpuFacts;
}

/** Products of bf16 are faster here than those of float32: on AMX tiles the engine makes them itself, the lesser instructions are
 *  left to the GEMM library. */
export function multipliesBf16({ bf16, gemm }: Pick<CpuInfo, 'bf16' | 'gemm'>): boolean {
  return bf16 === 'amx' || (bf16 !== 'none' && gemm !== null);
}

/** All automatic choices made; stored with the run and reapplied on resume. */
export interface RunPlan {
  readonly device: EngineLayout['device'];
  readonly compute: ComputeType;
  readonly threads: number;
  readonly activationCheckpointing: 'none' | 'block';
  /** Of the last blocks, those whose activations are kept for the backward: all of them without checkpointing. */
  readonly keptBlocks: number;
  /** Rebuilt weights are kept for all micro-batches of a step where memory is left for them. */
  readonly rebuiltWeights: 'rebuild' | 'keep';
  /** Parts of a training micro-batch that go through all layers side by side, each on one thread. */
  readonly lanes: number;
  readonly embeddings: EngineLayout['embeddings'];
  readonly optimizerState: EngineLayout['optimizerState'];
  readonly memoryLimit: number;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** What planMemory was given. */
  readonly input: PlanInput;
  readonly memory: MemoryPlan;
  readonly fits: boolean;
}

/** Settings that a caller has decided otherwise, e.g. those stored with a run that is resumed. */
export interface PlanChoices {
  readonly compute?: ComputeType;
  readonly threads?: number;
  readonly activationCheckpointing?: 'none' | 'block';
  readonly keptBlocks?: number;
  readonly rebuiltWeights?: 'rebuild' | 'keep';
  /** With `rebuiltWeights`; default 1. */
  readonly lanes?: number;
}

type Places = Pick<RunPlan, 'embeddings' | 'optimizerState'>;

/** Where an experiment lets the planner put things, from the fastest to the smallest on the device. Computing activations again costs
 *  up to a quarter of the speed, fetching from the host little: yet what stays off the device is the smaller part, so that it is
 *  the last resort and not the first. */
function ladder(offload: Experiment['offload'], device: EngineLayout['device']): Places[] {
  const places = [
    { name: 'none', embeddings: 'device', optimizerState: 'device' },
    { name: 'embeddings', embeddings: 'host', optimizerState: 'device' },
    { name: 'optimizer', embeddings: 'host', optimizerState: 'host' },
  ] as const;
  // On the CPU there is no other memory.
  return places
    .filter(({ name }) => (device === 'cpu' ? name === 'none' : offload === 'auto' || name === offload))
    .map(({ embeddings, optimizerState }) => ({ embeddings, optimizerState }));
}

/** The largest number of blocks, at least 1, whose activations can be kept under the limit. Each takes the same. */
function mostKeptBlocks(input: PlanInput, memoryLimit: number): number {
  const { layers } = input.shape;
  const total = (keptBlocks: number): number =>
    planMemory({ ...input, activationCheckpointing: 'block', keptBlocks }).total;
  const least = total(1);
  const each = layers > 1 ? total(2) - least : 0;
  return each === 0 ? layers : Math.min(layers, 1 + Math.max(0, Math.floor((memoryLimit - least) / each)));
}

/**
 * Decides compute, threads, checkpointing and what lies in host memory, and plans the memory: for what is "auto" the fastest that
 * fits under the memory limit, or else the smallest. An evaluation at a longer sequence (WikiText protocol) is planned by {@link planEvaluation}.
 */
export function planRun(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  choices: PlanChoices = {},
): RunPlan {
  const device = machine.device ?? 'cpu';
  const training = isTrained(experiment);
  const linears = resolveLinears(experiment, shape);
  const base = {
    device,
    shape,
    linears,
    activations: resolveActivations(experiment),
    distillation: distillationOf(experiment),
    trainedFloats: trainedFloats(experiment, shape),
    compute: choices.compute ?? chooseCompute(experiment, machine),
    threads: choices.threads ?? (experiment.threads === 'auto' ? machine.cores : experiment.threads),
    training,
    microBatchSize: experiment.training.microBatchSize,
    sequenceLength: experiment.data.sequenceLength,
  };
  const memoryLimit = memoryLimitBytes(experiment.memoryLimit, machine.totalMemory, device);
  const wanted = choices.activationCheckpointing ?? experiment.training.activationCheckpointing;
  const planned = (places: Places): RunPlan => {
    const checkpointing = checkpointingUnder(training ? wanted : 'none', choices.keptBlocks, memoryLimit, {
      ...base,
      ...places,
    });
    const { compute, threads } = base;
    const withWeights = (rebuiltWeights: RunPlan['rebuiltWeights'], lanes = 1): RunPlan => {
      const input = { ...base, ...checkpointing, ...places, rebuiltWeights, lanes };
      const memory = planMemory(input);
      const fits = memory.total <= memoryLimit;
      return {
        ...{ device, compute, threads, ...checkpointing, rebuiltWeights, lanes, ...places },
        ...{ memoryLimit, linears, input, memory, fits },
      };
    };
    if (choices.rebuiltWeights !== undefined) return withWeights(choices.rebuiltWeights, choices.lanes);
    // Kept weights save a few hundredths of a step, less than anything else that memory is spent on; lanes read them. Recorded
    // work on a GPU cannot tell the first micro-batch of a step from the others.
    const wishes =
      training && device === 'cpu'
        ? [withWeights('keep', chooseLanes({ ...base, ...checkpointing })), withWeights('keep')]
        : [];
    return wishes.find(({ fits }) => fits) ?? withWeights('rebuild');
  };
  const plans = ladder(experiment.offload, device).map(planned);
  const plan = plans.find(({ fits }) => fits) ?? plans.at(-1);
  if (plan === undefined) throw new RangeError('the ladder of plans is empty');
  return plan;
}

function checkpointingUnder(
  wanted: 'auto' | 'none' | 'block',
  stored: number | undefined,
  memoryLimit: number,
  base: Omit<PlanInput, 'activationCheckpointing'>,
): Pick<RunPlan, 'activationCheckpointing' | 'keptBlocks'> {
  const { layers } = base.shape;
  const input: PlanInput = { ...base, activationCheckpointing: 'block' };
  const keptBlocks =
    wanted === 'auto' ? mostKeptBlocks(input, memoryLimit) : wanted === 'none' ? layers : (stored ?? 1);
  return wanted === 'none' || (wanted === 'auto' && keptBlocks === layers)
    ? { activationCheckpointing: 'none', keptBlocks: layers }
    : { activationCheckpointing: 'block', keptBlocks };
}

function chooseCompute(experiment: Experiment, machine: Machine): ComputeType {
  if (experiment.compute !== 'auto') return experiment.compute;
  return machine.nativeBf16 || machine.device === 'cuda' ? 'bf16' : 'float32';
}

/** An engine that only evaluates, for sequences longer than those of the training engine, one at a time. */
export function planEvaluation(plan: RunPlan, sequenceLength: number): MemoryPlan {
  return planMemory({
    ...plan.input,
    rebuiltWeights: 'rebuild',
    training: false,
    microBatchSize: 1,
    sequenceLength,
    activationCheckpointing: 'none',
  });
}

/** What finding a start takes: an engine on the CPU that only evaluates, and what it works in. null: there is nothing to find. */
export function planStart(experiment: Experiment, plan: RunPlan): number | null {
  const start = startOf(experiment);
  if (start === null) return null;
  const layout = layoutOf({ ...plan.input, ...START_ENGINE, compute: startCompute(plan) });
  const { gptq } = experiment.quantization;
  return (
    totalBytes(memoryParts(layout)) + startWorkBytes(layout, start, gptq.sequences * experiment.data.sequenceLength)
  );
}

/** The engine that a start is found on, whatever the device of the run. */
export const START_ENGINE = {
  device: 'cpu',
  residual: 'float32',
  elementwise: 'keep',
  embeddings: 'device',
  optimizerState: 'device',
  training: false,
  activationCheckpointing: 'none',
  rebuiltWeights: 'rebuild',
} as const;

/** bf16 is the processor's where the run computes on it; of a GPU it says nothing about the processor. */
export function startCompute({ device, compute }: Pick<RunPlan, 'device' | 'compute'>): ComputeType {
  return device === 'cpu' ? compute : 'float32';
}
