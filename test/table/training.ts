// One training of the table, in a process of its own: done already, made now, or not at all.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExperimentInput } from '../../src/experiment';
import { readResult, type RunResult } from '../../src/runs';

export interface Trainings {
  /** Folder of the experiment files and of their runs. */
  readonly folder: string;
  /** Threads of a training; its figures do not depend on them. */
  readonly threads: number;
  /** Ends what runs, and lets nothing begin. */
  readonly deadline: AbortSignal;
}

/** What a run leaves that no table shows: most of its bytes. */
const NOT_KEPT = ['checkpoints', 'base', 'control', 'merged.safetensors'];

/** The result of an experiment that lies there already; null: none, or of another experiment. */
export async function finished(folder: string, experiment: ExperimentInput): Promise<RunResult | null> {
  const { file, runs } = placeOf(folder, experiment);
  if (!existsSync(file) || readFileSync(file, 'utf8') !== textOf(experiment) || !existsSync(runs)) return null;
  for (const name of readdirSync(runs)) {
    const result = await readResult(path.join(runs, name));
    if (result !== null) return result;
  }
  return null;
}

/** Trains from the beginning and keeps what tables show.
 *  @throws Error with the last lines of the run when it fails */
export async function train({ folder, threads, deadline }: Trainings, experiment: ExperimentInput): Promise<RunResult> {
  const { file, runs } = placeOf(folder, experiment);
  rmSync(runs, { recursive: true, force: true });
  writeFileSync(file, textOf(experiment));
  await command(
    ['dist/cli.js', 'train', file, '--runs', runs, '--foreground', '--json', '--set', `threads=${String(threads)}`],
    deadline,
  );
  const result = await finished(folder, experiment);
  if (result === null) throw new Error(`${runs}: the run has no result`);
  rmSync(path.join(runs, '.cache'), { recursive: true, force: true });
  for (const run of readdirSync(runs))
    for (const name of NOT_KEPT) rmSync(path.join(runs, run, name), { recursive: true, force: true });
  return result;
}

const placeOf = (folder: string, { name = '' }: ExperimentInput) => ({
  file: path.join(folder, `${name}.lrqat.json`),
  runs: path.join(folder, name),
});

const textOf = (experiment: ExperimentInput) => `${JSON.stringify(experiment, null, 2)}\n`;

/** Runs a script with this Node, its errors kept for the message. */
function command(args: readonly string[], deadline: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const end = () => child.kill('SIGKILL');
    deadline.addEventListener('abort', end);
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2000)));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      deadline.removeEventListener('abort', end);
      if (code === 0) resolve();
      else reject(new Error(errors.trim() || `ended with ${String(signal ?? code)}`));
    });
  });
}
