// Temporary run folders, an experiment to make runs of, and a file system in which any single call can be made to fail.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { build } from 'esbuild';
import { parseExperiment, type Experiment } from '../../src/experiment';
import { nodeFileSystem, type FileSystem, type OpenFile } from '../../src/formats/file-system';

export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-runs-'));
  context.after(() => {
    // Scripts that a failed test has left would keep this process alive.
    for (const child of alive) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}

const alive = new Set<ChildProcess>();

export function experimentNamed(name: string, steps = 10): Experiment {
  const text = JSON.stringify({
    name,
    model: { path: 'model' },
    data: { train: ['train.txt'], validation: ['validation.txt'] },
    training: { steps },
  });
  const { experiment, problems } = parseExperiment(text, 'synthetic.lrqat.json');
  if (experiment === undefined) throw new Error(JSON.stringify(problems));
  return experiment;
}

/** Bundles TypeScript source (imports relative to the repository root) into a script for `node`. */
export async function bundleScript(folder: string, name: string, source: string): Promise<string> {
  const outfile = path.join(folder, `${name}.mjs`);
  await build({
    stdin: { contents: source, resolveDir: process.cwd(), loader: 'ts' },
    bundle: true,
    platform: 'node',
    packages: 'external',
    format: 'esm',
    outfile,
  });
  return outfile;
}

export interface RunningScript {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  /** Resolves to the first line that matches, now or later. */
  line(pattern: RegExp): Promise<string>;
}

/** Starts a script and resolves once it has printed a line that matches. */
export async function startScript(script: string, args: readonly string[], pattern: RegExp): Promise<RunningScript> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  alive.add(child);
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  void ended.then(() => alive.delete(child));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const line = async (wanted: RegExp): Promise<string> => {
    for (;;) {
      const found = text
        .split('\n')
        .slice(0, -1)
        .find((each) => wanted.test(each));
      if (found !== undefined) return found;
      if (child.exitCode !== null) throw new Error(`${script} ended with ${String(child.exitCode)}: ${text}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await line(pattern);
  return { child, ended, line };
}

export class InjectedFault extends Error {
  readonly code: string;
  constructor(code: string, call: string) {
    super(`${code}: injected at ${call}`);
    this.code = code;
  }
}

export interface FaultPlan {
  /** The call (counted from 1) that fails. */
  readonly at: number;
  readonly code: string;
  /** Also all later ones that would take space, as on a full disk. Removing files frees some. */
  readonly persistent?: boolean;
  /** A write that fails first writes half of its bytes. */
  readonly partial?: boolean;
}

/** The real file system, with a fault. `calls` names every call made through it. */
export function faultyFileSystem(plan: FaultPlan | null): FileSystem & { readonly calls: string[] } {
  const calls: string[] = [];
  const fails = (name: string): boolean => {
    calls.push(name);
    if (plan === null || calls.length < plan.at) return false;
    return calls.length === plan.at || plan.persistent === true;
  };
  const check = (name: string): void => {
    if (fails(name)) throw new InjectedFault(plan?.code ?? 'EIO', `${String(calls.length)} ${name}`);
  };
  const wrapFile = (file: OpenFile): OpenFile => ({
    read: (...args) => file.read(...args),
    write: async (buffer, offset, length, position) => {
      if (!fails('write')) return file.write(buffer, offset, length, position);
      const half = Math.floor(length / 2);
      if (plan?.partial === true && half > 0) {
        // A short write first; the next call then fails for good, as the kernel does it.
        return file.write(buffer, offset, half, position);
      }
      throw new InjectedFault(plan?.code ?? 'EIO', `${String(calls.length)} write`);
    },
    stat: () => file.stat(),
    truncate: (length) => file.truncate(length),
    datasync: () => {
      check('datasync');
      return file.datasync();
    },
    close: () => file.close(),
  });
  return {
    calls,
    open: async (file, flags) => {
      check(`open ${flags}`);
      return wrapFile(await nodeFileSystem.open(file, flags));
    },
    mkdir: async (folder) => {
      check('mkdir');
      await nodeFileSystem.mkdir(folder);
    },
    rename: async (from, to) => {
      check('rename');
      await nodeFileSystem.rename(from, to);
    },
    link: async (from, to) => {
      check('link');
      await nodeFileSystem.link(from, to);
    },
    copyExclusive: async (from, to) => {
      check('copy');
      await nodeFileSystem.copyExclusive(from, to);
    },
    unlink: (file) => nodeFileSystem.unlink(file),
    removeTree: (folder) => nodeFileSystem.removeTree(folder),
    syncFolder: async (folder) => {
      check('syncFolder');
      await nodeFileSystem.syncFolder(folder);
    },
  };
}
