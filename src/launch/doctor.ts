// What `lrqat doctor` tells about this machine and installation.
import { statfs } from 'node:fs/promises';
import os from 'node:os';
import { version } from '../../package.json';
import { messageOf } from '../errors';
import { obstacle } from './gpu';
import { probeNative, type NativeProbe, type ProbeOptions } from './probe-native';

export interface Fact {
  readonly name: string;
  readonly ok: 'ok' | 'warning' | 'error';
  readonly value: string;
  /** What to do about it; null: nothing. */
  readonly hint: string | null;
}

export interface DoctorOptions extends ProbeOptions {
  /** The disk of this folder is looked at; default: where the program was started. */
  readonly folder?: string;
}

const NODE_NEEDED = [20, 10] as const;
const GIB = 2 ** 30;
const FEW_BYTES = 2 * GIB;

/** Facts in the order in which to show them. Never throws for what it finds. */
export async function doctor(options: DoctorOptions = {}): Promise<Fact[]> {
  const probe = await probeNative(options);
  return [
    fact('LR-QAT Studio', version),
    nodeFact(process.versions.node),
    ...nativeFacts(probe),
    memoryFact(),
    await diskFact(options.folder ?? process.cwd()),
    ...gpuFacts(probe),
  ];
}

function fact(name: string, value: string): Fact {
  return { name, ok: 'ok', value, hint: null };
}

export function nodeFact(node: string): Fact {
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const [needMajor, needMinor] = NODE_NEEDED;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return fact('Node', node);
  return { name: 'Node', ok: 'error', value: node, hint: `Node ${NODE_NEEDED.join('.')} or newer is needed.` };
}

export function nativeFacts(probe: NativeProbe): Fact[] {
  if (!probe.ok) return [{ name: 'Native engine', ok: 'error', value: probe.reason, hint: probe.hint }];
  const { cpu, files } = probe;
  const bf16 = cpu.bf16 === 'none' ? 'no bf16 (compute is float32)' : `bf16 by ${cpu.bf16}`;
  return [
    fact('Native engine', `${probe.engineVersion} (${files.addon})`),
    fact('CPU', `${cpu.isa}, ${bf16}, ${String(cpu.logicalCores)} logical cores`),
    gemmFact(probe),
  ];
}

function gemmFact({ cpu, files }: Extract<NativeProbe, { ok: true }>): Fact {
  if (cpu.gemm !== null) return fact('Matrix products', `${cpu.gemm.library} ${cpu.gemm.version}`);
  const value = 'built in (slower than oneDNN)';
  const hint =
    files.oneDnn === null
      ? 'Install oneDNN (Debian: libdnnl-dev) and build again with npm run setup.'
      : `${files.oneDnn} cannot be opened: install the oneDNN library it was built with, or run npm run setup.`;
  return { name: 'Matrix products', ok: 'warning', value, hint };
}

function gpuFacts(probe: NativeProbe): Fact[] {
  if (!probe.ok) return [];
  const { cuda } = probe;
  const reason = obstacle(cuda);
  const devices = (cuda.info?.devices ?? []).map((device) =>
    fact(
      `GPU ${String(device.index)}`,
      `${device.name}, compute capability ${device.computeCapability}, ${gib(device.freeBytes)} free of ${gib(device.totalBytes)}`,
    ),
  );
  const versions =
    cuda.info === null ? [] : [fact('CUDA', `built with ${cuda.info.runtime}, driver serves ${cuda.info.driver}`)];
  if (reason === null) return [...devices, ...versions, fact('cuBLASLt', cuda.cublasLt ?? '')];
  // Training on the CPU is no defect; a GPU that is there and cannot be used is worth a note.
  const ok = devices.length > 0 || cuda.problem !== null ? 'warning' : 'ok';
  return [
    ...devices,
    ...versions,
    { name: 'GPU', ok, value: `none can be used: ${reason.message}`, hint: ok === 'ok' ? null : reason.hint },
  ];
}

function memoryFact(): Fact {
  // In a container its limit counts, not the machine's memory; 0 and absurdly large numbers mean that there is none.
  const limit = process.constrainedMemory();
  const total = os.totalmem();
  const usable = limit > 0 && limit < total ? limit : total;
  const free = Math.min(os.freemem(), usable);
  const value = `${gib(free)} free of ${gib(usable)}`;
  if (free >= FEW_BYTES) return fact('Memory', value);
  return { name: 'Memory', ok: 'warning', value, hint: '"lrqat estimate FILE" tells what a run needs.' };
}

async function diskFact(folder: string): Promise<Fact> {
  try {
    const { bavail, blocks, bsize } = await statfs(folder);
    // File systems such as /proc have none.
    if (blocks === 0)
      return { name: 'Disk', ok: 'warning', value: `${folder}: no storage`, hint: 'Choose another place with --runs.' };
    const free = bavail * bsize;
    const value = `${gib(free)} free at ${folder}`;
    if (free >= FEW_BYTES) return fact('Disk', value);
    return { name: 'Disk', ok: 'warning', value, hint: 'Checkpoints may not fit; choose another place with --runs.' };
  } catch (error) {
    return { name: 'Disk', ok: 'warning', value: `${folder}: ${messageOf(error)}`, hint: null };
  }
}

function gib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}
