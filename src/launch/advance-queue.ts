// Keeps a queue going: starts what waits and has room. Called by whoever ends a run or looks at a folder of runs; any number of
// processes may do so at a time.
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  claimNext,
  describeFailure,
  hasQueue,
  isEnded,
  queuePaths,
  readQueue,
  readState,
  recordEnd,
  type Claim,
} from '../runs';
import { childEnvironment } from './environment';
import { findNative } from './native-files';
import { findTrainer, spawnTrainer, type SpawnTrainerOptions } from './spawn-trainer';

export interface AdvanceOptions extends SpawnTrainerOptions {
  /** A run that could not be started; it says so itself, and the next one is tried. */
  readonly onFailure?: (directory: string, error: unknown) => void;
}

/** Starts queued runs as long as there is room for more.
 *  @returns directories of those whose trainers work
 *  @throws UserError NativeMissing, TrainerMissing: nothing has been touched */
export async function advanceQueue(runsFolder: string, options: AdvanceOptions = {}): Promise<string[]> {
  if (!hasQueue(runsFolder)) return [];
  const started: string[] = [];
  for (;;) {
    const claim = await nextClaim(runsFolder, options);
    if (claim === null) return started;
    try {
      await spawnTrainer(claim.directory, { ...options, slot: claim.slot });
      started.push(claim.directory);
    } catch (error) {
      await recordFailedStart(claim.directory, error);
      options.onFailure?.(claim.directory, error);
    }
  }
}

/** What is missing on this machine is no run's fault: asked before one is claimed. */
async function nextClaim(runsFolder: string, options: AdvanceOptions): Promise<Claim | null> {
  if ((await readQueue(runsFolder)).waiting.length > 0) {
    findNative(options.environment);
    if (options.trainerFile === undefined) findTrainer();
  }
  return claimNext(runsFolder);
}

async function recordFailedStart(directory: string, error: unknown): Promise<void> {
  if (isEnded((await readState(directory)).state)) return;
  await recordEnd(directory, 'failed', describeFailure(error, directory)).catch(() => undefined);
}

/** From a trainer that is about to end: leaves the queue to a process of its own, which begins when this one has gone and its
 *  memory is free. */
export async function leaveQueueToChild(runsFolder: string, program: string): Promise<void> {
  if (!hasQueue(runsFolder) || (await readQueue(runsFolder)).waiting.length === 0) return;
  const log = await open(queuePaths(runsFolder).log, 'a');
  try {
    const args = [program, '--queue', path.resolve(runsFolder), '--after', String(process.pid)];
    const child = spawn(process.execPath, args, {
      cwd: runsFolder,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      windowsHide: true,
      env: childEnvironment(),
    });
    child.once('error', () => undefined);
    child.unref();
  } finally {
    await log.close();
  }
}

/** How long to wait for the process before (milliseconds); it has nothing left to do. */
const PATIENCE = 20_000;

/** The child's work. */
export async function continueQueue(runsFolder: string, after: number): Promise<void> {
  for (const end = Date.now() + PATIENCE; exists(after) && Date.now() < end;) await sleep(20);
  await advanceQueue(runsFolder, {
    onFailure: (directory, error) => {
      console.error(`${new Date().toISOString()} ${path.basename(directory)}: ${String(error)}`);
    },
  });
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
