// Which process is this, and is that one still alive: a pid alone is not enough, because pids are reused, hosts reboot and
// containers have pid namespaces of their own.
import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';

export interface ProcessIdentity {
  readonly host: string;
  /** Changes with every boot; null where the system has no such id. */
  readonly bootId: string | null;
  /** Linux: namespace in which `pid` means something. */
  readonly pidNamespace: string | null;
  readonly pid: number;
  /** When the process began, in the system's own words; compared, never read. */
  readonly processStart: string | null;
}

/** unknown: the process cannot be looked at from here (another host or pid namespace). */
export type Liveness = 'alive' | 'dead' | 'unknown';

export function currentProcess(): ProcessIdentity {
  return { ...hostIdentity(), pid: process.pid, processStart: startOf(process.pid) ?? null };
}

export function livenessOf(identity: ProcessIdentity): Liveness {
  const here = hostIdentity();
  if (identity.host !== here.host) return 'unknown';
  if (identity.bootId !== here.bootId) return 'dead';
  if (identity.pidNamespace !== here.pidNamespace) return 'unknown';
  if (!exists(identity.pid)) return 'dead';
  const start = startOf(identity.pid);
  if (start === undefined) return 'dead';
  if (start === null || identity.processStart === null) return 'alive';
  return start === identity.processStart ? 'alive' : 'dead';
}

type HostIdentity = Pick<ProcessIdentity, 'host' | 'bootId' | 'pidNamespace'>;
let cachedHost: HostIdentity | undefined;

function hostIdentity(): HostIdentity {
  cachedHost ??= { host: os.hostname(), bootId: bootId(), pidNamespace: pidNamespace() };
  return cachedHost;
}

function bootId(): string | null {
  try {
    if (process.platform === 'linux') return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    if (process.platform === 'darwin') {
      return /sec = (\d+)/.exec(output('sysctl', ['-n', 'kern.boottime']))?.[1] ?? null;
    }
  } catch {
    // Without the id a reboot is noticed by the process's start time.
  }
  return null;
}

function pidNamespace(): string | null {
  try {
    return process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : null;
  } catch {
    return null;
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Start time of a process; undefined: no such process (or only its zombie); null: this system does not tell. */
function startOf(pid: number): string | null | undefined {
  if (process.platform === 'linux') {
    let stat: string;
    try {
      stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    } catch {
      return undefined;
    }
    // The command name (field 2) may hold spaces and parentheses; fields are counted from after its last ')'.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0];
    return state === 'Z' || state === 'X' ? undefined : (fields[19] ?? null);
  }
  if (process.platform === 'win32') return null;
  try {
    const text = output('ps', ['-o', 'stat=,lstart=', '-p', String(pid)]).trim();
    if (text === '' || text.startsWith('Z')) return undefined;
    return text.replace(/^\S+\s+/, '');
  } catch {
    return undefined;
  }
}

function output(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', timeout: 2_000, stdio: ['ignore', 'pipe', 'ignore'] });
}
