// provenance.json: where a run comes from, so that it can be made again. Written at creation with what is known then; the
// trainer adds the device, the engine and the hashes.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

export interface GitState {
  readonly root: string;
  readonly commit: string;
  readonly branch: string | null;
  /** Tracked files differ from the commit, or there are new ones. */
  readonly dirty: boolean;
}

export interface Machine {
  readonly host: string;
  readonly platform: string;
  readonly release: string;
  readonly architecture: string;
  readonly processor: string;
  readonly logicalCores: number;
  readonly memoryBytes: number;
}

/** SHA-256 of a file's contents, in hexadecimal. */
export interface FileHash {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Of a run that is one of a sweep. */
export interface SweepOrigin {
  /** The same for all runs of one start. */
  readonly id: string;
  /** Of the combination: `w2-rank8`. */
  readonly name: string;
  /** Counted from 1. */
  readonly position: number;
  readonly runs: number;
  /** What was swept, by key path. */
  readonly values: Readonly<Record<string, unknown>>;
}

export interface Provenance {
  readonly schema: number;
  readonly created: number;
  /** The file the experiment was read from; experiment.json holds what it said. */
  readonly experimentFile: string;
  readonly command: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  /** Of the experiment's folder; null: not under git, or git cannot be run. */
  readonly git: GitState | null;
  readonly machine: Machine;
  /** null until the trainer has chosen. */
  readonly device: Readonly<Record<string, unknown>> | null;
  readonly seeds: Readonly<Record<string, number>>;
  /** Absent where the experiment file had no sweep. */
  readonly sweep?: SweepOrigin;
  /** null until computed. */
  readonly hashes: {
    readonly model: readonly FileHash[];
    readonly data: readonly FileHash[];
    readonly tokenizer: readonly FileHash[];
  } | null;
}

export type ProvenancePatch = Partial<Omit<Provenance, 'schema' | 'created'>>;

export const PROVENANCE_SCHEMA = 1;

export function parseProvenance(value: unknown): Partial<Provenance> {
  return typeof value === 'object' && value !== null ? value : {};
}

export function thisMachine(): Machine {
  const cores = os.cpus();
  return {
    host: os.hostname(),
    platform: os.platform(),
    release: os.release(),
    architecture: os.arch(),
    processor: cores[0]?.model.trim() ?? 'unknown',
    logicalCores: cores.length,
    memoryBytes: os.totalmem(),
  };
}

const run = promisify(execFile);

/** Commit and state of the working tree that `folder` belongs to. Hooks and monitors that a repository's own configuration
 *  may name are switched off: the folder is data, not a program. */
export async function gitState(folder: string, timeout = 5_000): Promise<GitState | null> {
  const git = async (...args: string[]): Promise<string> => {
    const options = {
      cwd: folder,
      timeout,
      maxBuffer: 64 * 1024 * 1024,
      env: { ...process.env, GIT_OPTIONAL_LOCKS: '0', GIT_TERMINAL_PROMPT: '0' },
    };
    return (await run('git', ['-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null', ...args], options))
      .stdout;
  };
  try {
    const [root, commit] = (await git('rev-parse', '--show-toplevel', 'HEAD')).split('\n');
    if (root === undefined || commit === undefined || !/^[0-9a-f]{40,64}$/.test(commit)) return null;
    const branch = (await git('rev-parse', '--abbrev-ref', 'HEAD')).trim();
    const dirty = (await git('status', '--porcelain')).trim() !== '';
    return { root: path.normalize(root), commit, branch: branch === 'HEAD' ? null : branch, dirty };
  } catch {
    return null;
  }
}

/** SHA-256 of files, read one after the other in the background of whatever else the process does. */
export async function hashFiles(files: readonly string[], signal?: AbortSignal): Promise<FileHash[]> {
  const hashes: FileHash[] = [];
  for (const file of files) {
    const hash = createHash('sha256');
    let bytes = 0;
    // Small pieces, so that the event loop is never held for more than a fraction of a millisecond.
    for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024, ...(signal ? { signal } : {}) })) {
      const piece = chunk as Buffer;
      hash.update(piece);
      bytes += piece.length;
    }
    hashes.push({ file, bytes, sha256: hash.digest('hex') });
  }
  return hashes;
}
