// Runs the real binary, dist/cli.js, as a user would.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { readOwner } from '../../src/runs';

export const CLI = path.resolve('dist/cli.js');
export const SAMPLE = path.resolve('samples/first-run/w2-rank32.lrqat.json');

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
  /** Resolves once standard output matches. */
  printed(pattern: RegExp): Promise<void>;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export function start(args: readonly string[], { cwd, env }: RunOptions = {}): Running {
  return follow(spawn(process.execPath, [CLI, ...args], { cwd, env: { ...process.env, ...env } }));
}

/** The same on a pseudo-terminal of 100 columns, through util-linux' `script`. Keys are written to `child.stdin`. */
export function startOnTerminal(args: readonly string[], columns = 100): Running {
  const quoted = [process.execPath, CLI, ...args].map((arg) => `'${arg}'`).join(' ');
  // script passes the command's exit code on (-e) and writes no file.
  const command = `stty cols ${String(columns)} rows 30; exec ${quoted}`;
  return follow(spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, TERM: 'xterm-256color' } }));
}

const alive = new Set<ChildProcess>();

function follow(child: ChildProcess): Running {
  alive.add(child);
  child.once('close', () => alive.delete(child));
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const outcome = new Promise<Outcome>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr })),
  );
  const printed = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(stdout)) {
      if (child.exitCode !== null) throw new Error(`ended before ${String(pattern)}:\n${stdout}\n${stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { child, outcome, printed };
}

export function lrqat(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return start(args, options).outcome;
}

/** A folder whose runs' trainers are ended, and which is removed, after the test, with all commands that still run. */
export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-cli-'));
  context.after(async () => {
    for (const child of alive) child.kill('SIGKILL');
    await endTrainers(path.join(folder, 'runs'));
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}

async function endTrainers(runsFolder: string): Promise<void> {
  for (const name of readdirIfThere(runsFolder)) {
    const owner = await readOwner(path.join(runsFolder, name)).catch(() => null);
    if (owner === null || owner.pid === process.pid) continue;
    try {
      process.kill(owner.pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
}

function readdirIfThere(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Lines of JSON, one object each. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
