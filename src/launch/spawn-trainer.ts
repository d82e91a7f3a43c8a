// Starts the trainer of a run as a process of its own session: it outlives this one, its window and its terminal.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, UserError } from '../errors';
import { readOwner, readStatus, runPaths } from '../runs';
import { childEnvironment } from './environment';
import { bundleFolder, projectRoot } from './native-files';

export interface SpawnTrainerOptions {
  /** Node, or an Electron that acts as one; default: the program that runs this. */
  readonly nodePath?: string;
  /** Default: trainer.js beside the running bundle. */
  readonly trainerFile?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** How long the trainer may take to become the run's owner (milliseconds). */
  readonly timeout?: number;
  /** Gives up waiting (and the trainer) with AbortError. */
  readonly signal?: AbortSignal;
}

const POLL = 40;
const LOG_TAIL_BYTES = 4096;
const LOG_TAIL_LINES = 12;

/** Starts the trainer on a run directory and resolves when it has taken ownership (owner.json), or when it has already ended
 *  well. Its output goes to the run's log.txt.
 *  @throws UserError TrainerMissing, TrainerNotStarted, or TrainerDied with the reason from status.json or the end of the log */
export async function spawnTrainer(runDirectory: string, options: SpawnTrainerOptions = {}): Promise<ChildProcess> {
  const trainer = options.trainerFile ?? findTrainer();
  const paths = runPaths(path.resolve(runDirectory));
  const before = await readOwner(paths.directory);
  const log = await openLog(paths.log);
  let child: ChildProcess;
  let logBegin: number;
  try {
    logBegin = (await log.stat()).size;
    // An argument array, never a shell: run names come from the user.
    child = spawn(options.nodePath ?? process.execPath, [trainer, paths.directory], {
      cwd: paths.directory,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      windowsHide: true,
      env: childEnvironment(options.environment),
    });
  } finally {
    // The child has its own copy by now.
    await log.close();
  }
  try {
    await untilOwned(child, paths.directory, before?.id, options, logBegin);
  } catch (error) {
    child.kill('SIGTERM');
    throw error;
  } finally {
    child.unref();
  }
  return child;
}

/** trainer.js beside the running bundle, or in the dist folder of the clone. */
export function findTrainer(): string {
  const root = projectRoot();
  const places = [path.join(bundleFolder(), 'trainer.js')];
  if (root !== null) places.push(path.join(root, 'dist', 'trainer.js'));
  const found = places.find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new UserError('TrainerMissing', `the trainer is not built; searched: ${places.join(', ')}`, {
    hint: 'Build it with: npm run setup',
  });
}

async function openLog(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'a');
  } catch (error) {
    throw new UserError('TrainerNotStarted', `${file}: cannot be written (${messageOf(error)})`, {
      hint: 'A run directory must be there and writable before its trainer starts.',
      cause: error,
    });
  }
}

type End = { readonly code: number | null; readonly signal: NodeJS.Signals | null } | { readonly error: Error };

async function untilOwned(
  child: ChildProcess,
  runDirectory: string,
  ownerBefore: string | undefined,
  options: SpawnTrainerOptions,
  logBegin: number,
): Promise<void> {
  let end: End | null = null;
  child.once('error', (error) => (end ??= { error }));
  child.once('exit', (code, signal) => (end ??= { code, signal }));
  const current = (): End | null => end;
  const timeout = options.timeout ?? 60_000;
  for (const start = performance.now(); performance.now() - start < timeout;) {
    const ended = current();
    if (ended !== null) {
      await requireGoodEnd(ended, runDirectory, logBegin);
      return;
    }
    const owner = await readOwner(runDirectory);
    if (owner !== null && owner.id !== ownerBefore) return;
    await sleep(POLL, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  throw new UserError(
    'TrainerNotStarted',
    `the trainer did not begin within ${String(timeout / 1000)} s and was ended`,
    {
      hint: `See ${runPaths(runDirectory).log}`,
    },
  );
}

/** A run may be over before anyone has looked; only a bad end is an error. */
async function requireGoodEnd(end: End, runDirectory: string, logBegin: number): Promise<void> {
  if ('error' in end) {
    throw new UserError('TrainerNotStarted', `the trainer could not be started (${messageOf(end.error)})`, {
      cause: end.error,
    });
  }
  if (end.code === 0) return;
  const how = end.signal === null ? `with exit code ${String(end.code)}` : `by ${end.signal}`;
  const tail = await logTail(runPaths(runDirectory).log, logBegin);
  const error = (await readStatus(runDirectory))?.error;
  if (error) {
    throw new UserError(error.code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
  throw new UserError(
    'TrainerDied',
    `the trainer ended at once ${how}${tail === '' ? '' : `; its log ends:\n${tail}`}`,
    {
      hint: `The whole log is in ${runPaths(runDirectory).log}. "lrqat doctor" checks this machine.`,
    },
  );
}

/** Last lines that were written to a log after `begin`. */
async function logTail(file: string, begin: number): Promise<string> {
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      const from = Math.max(begin, size - LOG_TAIL_BYTES);
      const buffer = Buffer.alloc(Math.max(0, size - from));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, from);
      const lines = buffer.subarray(0, bytesRead).toString('utf8').trimEnd().split('\n');
      return lines
        .slice(-LOG_TAIL_LINES)
        .map((line) => `  ${line}`.trimEnd())
        .join('\n');
    } finally {
      await handle.close();
    }
  } catch {
    // The message is complete without it.
    return '';
  }
}
