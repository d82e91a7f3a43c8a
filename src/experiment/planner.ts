// The planner: what an experiment allocates on a machine, and the choices that "auto" leaves to it.

import type { ComputeType, LinearQuantization, MemoryParts } from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';
import { resolveLinears } from './linears';
import { memoryParts, totalBytes, type EngineLayout } from './memory-layout';
import { memoryLimitBytes } from './memory-limit';
import type { Experiment } from './schema';

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
export function layoutOf(input: PlanInput): EngineLayout {
  const common = { embeddings: 'device', optimizerState: 'device' } as const;
  return input.device === 'cuda'
    ? { ...common, residual: input.compute, elementwise: 'recompute', ...input, device: 'cuda' }
    : { ...common, residual: 'float32', elementwise: 'keep', ...input, device: 'cpu' };
}

/** What the planner must know about the machine. */
export interface Machine {
  /** Bytes of memory the engine draws on: the machine's, or the GPU's usable ones. */
  readonly totalMemory: number;
  readonly cores: number;
  /** The processor multiplies bf16 natively and the GEMM library uses it. */
  readonly nativeBf16: boolean;
  /** Where the run would compute; default: the CPU. */
  readonly device?: EngineLayout['device'];
}

/** All automatic choices made; stored with the run and reapplied on resume. */
export interface RunPlan {
  readonly device: EngineLayout['device'];
  readonly compute: ComputeType;
  readonly threads: number;
  readonly activationCheckpointing: 'none' | 'block';
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
}

/**
 * Decides compute, threads and checkpointing and plans the memory. "auto" checkpointing keeps all activations when that fits
 * under the memory limit. An evaluation at a longer sequence (WikiText protocol) is planned by {@link planEvaluation}.
 */
export function planRun(
  experiment: Experiment,
  shape: ModelShape,
  machine: Machine,
  choices: PlanChoices = {},
): RunPlan {
  const device = machine.device ?? 'cpu';
  const training = experiment.quantization.method !== 'rtn';
  const linears = resolveLinears(experiment, shape);
  const base = {
    device,
    shape,
    linears,
    compute: choices.compute ?? chooseCompute(experiment, machine),
    threads: choices.threads ?? (experiment.threads === 'auto' ? machine.cores : experiment.threads),
    training,
    microBatchSize: experiment.training.microBatchSize,
    sequenceLength: experiment.data.sequenceLength,
  };
  const memoryLimit = memoryLimitBytes(experiment.memoryLimit, machine.totalMemory);
  const wanted = choices.activationCheckpointing ?? experiment.training.activationCheckpointing;
  const planned = (activationCheckpointing: 'none' | 'block'): RunPlan => {
    const input = { ...base, activationCheckpointing };
    const memory = planMemory(input);
    const { compute, threads } = base;
    const fits = memory.total <= memoryLimit;
    return { device, compute, threads, activationCheckpointing, memoryLimit, linears, input, memory, fits };
  };
  if (wanted !== 'auto') return planned(wanted);
  const fast = planned('none');
  return fast.fits || !training ? fast : planned('block');
}

function chooseCompute(experiment: Experiment, machine: Machine): ComputeType {
  if (experiment.compute !== 'auto') return experiment.compute;
  return machine.nativeBf16 || machine.device === 'cuda' ? 'bf16' : 'float32';
}

/** An engine that only evaluates, for sequences longer than those of the training engine, one at a time. */
export function planEvaluation(plan: RunPlan, sequenceLength: number): MemoryPlan {
  return planMemory({
    ...plan.input,
    training: false,
    microBatchSize: 1,
    sequenceLength,
    activationCheckpointing: 'none',
  });
}
