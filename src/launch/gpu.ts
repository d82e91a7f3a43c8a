// Which GPU an experiment's `device` means on this machine.
import type { CudaDevice, CudaInfo } from '../../native/binding/addon';
import { UserError } from '../errors';

/** Everything that must be there for a run on a GPU, as far as it was found. */
export interface CudaProbe {
  /** File of the CUDA backend; null: not built. */
  readonly library: string | null;
  /** null: the backend could not be asked, `problem` says why. */
  readonly info: CudaInfo | null;
  readonly problem: string | null;
  /** What the backend itself says would help. */
  readonly hint?: string;
  readonly cublasLt: string | null;
  /** Where cuBLASLt was looked for. */
  readonly searched: readonly string[];
}

export interface GpuChoice {
  readonly library: string;
  readonly cublasLt: string;
  readonly device: CudaDevice;
}

/** Ampere: the first with bf16 tensor cores. */
const LEAST_CAPABILITY = 8;

/**
 * The GPU for `device` ("auto", "cpu", "cuda" or "cuda:<index>"); null: the CPU. "auto" takes the usable GPU with the most free
 * memory, and the CPU where there is none.
 * @throws UserError DeviceUnavailable for a GPU that was asked for and cannot be used, naming what was looked for
 */
export function chooseGpu(device: string, probe: CudaProbe): GpuChoice | null {
  return gpusFor(device, probe)[0] ?? null;
}

/** All GPUs that `device` may mean, the one with the most free memory first; none: the CPU.
 *  @throws UserError as {@link chooseGpu}, UnknownDevice */
export function gpusFor(device: string, probe: CudaProbe): GpuChoice[] {
  if (device === 'cpu') return [];
  if (!/^(auto|cuda(:\d+)?)$/.test(device)) {
    throw new UserError('UnknownDevice', `device: "${device}" is none`, {
      hint: 'Use auto, cpu, cuda or cuda:<index>.',
    });
  }
  const wanted = /^cuda:(\d+)$/.exec(device)?.[1];
  const reason = obstacle(probe, wanted === undefined ? null : Number(wanted));
  if (reason !== null) {
    if (device === 'auto') return [];
    throw new UserError('DeviceUnavailable', `device: "${device}" cannot be used: ${reason.message}`, {
      hint: reason.hint,
    });
  }
  const { library, cublasLt, info } = probe;
  if (library === null || cublasLt === null) return [];
  return (info?.devices ?? [])
    .filter((other) => isUsable(other) && (wanted === undefined || other.index === Number(wanted)))
    .sort((a, b) => b.freeBytes - a.freeBytes || a.index - b.index)
    .map((chosen) => ({ library, cublasLt, device: chosen }));
}

export function isUsable({ computeCapability }: CudaDevice): boolean {
  return Number.parseInt(computeCapability, 10) >= LEAST_CAPABILITY;
}

interface Obstacle {
  readonly message: string;
  readonly hint: string;
}

/** What stands in the way of a run on a GPU; null: nothing. */
export function obstacle(probe: CudaProbe, index: number | null = null): Obstacle | null {
  if (probe.library === null) {
    return {
      message: 'the CUDA backend is not built',
      hint: 'Install the CUDA toolkit (nvcc) and run npm run setup again, or use "cpu".',
    };
  }
  if (probe.info === null) {
    return {
      message: probe.problem ?? 'the CUDA backend does not answer',
      hint: probe.hint ?? 'Check with nvidia-smi that the NVIDIA driver works, or use "cpu".',
    };
  }
  const { devices } = probe.info;
  if (devices.length === 0) return { message: 'this machine has no NVIDIA GPU', hint: 'Use "cpu" or "auto".' };
  const device = index === null ? null : devices.find((other) => other.index === index);
  if (device === undefined) {
    return {
      message: `there ${devices.length === 1 ? 'is only GPU 0' : `are only GPUs 0 to ${String(devices.length - 1)}`}`,
      hint: `Use ${devices.map((other) => `"cuda:${String(other.index)}" (${other.name})`).join(', ')}.`,
    };
  }
  if (!(device === null ? devices : [device]).some(isUsable)) {
    const names = (device === null ? devices : [device])
      .map((other) => `${other.name} (compute capability ${other.computeCapability})`)
      .join(', ');
    return { message: `${names}: bf16 tensor cores (8.0 or newer) are needed`, hint: 'Use "cpu".' };
  }
  if (probe.cublasLt === null) {
    return {
      message: `cuBLASLt of CUDA 12 or 13 was not found; searched: ${probe.searched.join(', ')}`,
      hint: 'Install the CUDA toolkit or the pip package nvidia-cublas, or let LRQAT_CUBLASLT name the library.',
    };
  }
  return null;
}
