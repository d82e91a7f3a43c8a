// The machine of an experiment as the planner sees it: the GPU that its `device` means, or the processor.
import { thisMachine } from '../experiment/world';
import { multipliesBf16, type Machine } from '../experiment';
import { UserError } from '../errors';
import { chooseGpu } from './gpu';
import type { NativeProbe } from './probe-native';

export interface ExperimentMachine {
  readonly machine: Machine;
  /** Why the GPU that was asked for cannot be used; null: it can, or none was asked for. */
  readonly gpuProblem: string | null;
}

/** Without a native build the answers are those of a plain processor: whether there is one is not this question. */
export function machineFor(device: string, probe: NativeProbe): ExperimentMachine {
  if (!probe.ok) {
    return { machine: thisMachine({ nativeBf16: false }), gpuProblem: probe.reason };
  }
  const { cpu, cuda } = probe;
  const processor = thisMachine({
    nativeBf16: multipliesBf16(cpu),
    logicalCores: cpu.logicalCores,
  });
  try {
    const gpu = chooseGpu(device, cuda);
    if (gpu === null) return { machine: processor, gpuProblem: null };
    const { name, computeCapability, multiprocessors, totalBytes, freeBytes } = gpu.device;
    const facts = { name, computeCapability, multiprocessors, totalBytes };
    const machine: Machine = {
      ...processor,
      totalMemory: freeBytes,
      nativeBf16: true,
      device: 'cuda',
      gpu: facts,
    };
    return { machine, gpuProblem: null };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { machine: processor, gpuProblem: error.message.replace(/^[^:]*: "[^"]*" cannot be used: /, '') };
  }
}
