// Starts the trainer of a run as a process of its own session: it outlives this one, its window and its terminal.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, systemErrorCode, UserError } from '../errors';
import { readOwner, readStatus, runPaths, type RunStatus } from '../runs';
import { childEnvironment } from './environment';
import { bundleFolder, projectRoot } from './native-files';

export interface SpawnTrainerOptions {
  /** Node, or an Electron that acts as one; default: the program that runs this. */
  readonly nodePath?: string;
  /** Default: trainer.js beside the running bundle. */
  readonly trainerFile?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** The slot that holds the run's place: the trainer works only while it still does. */
  readonly slot?: string;
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
  const paths = runPaths(path.resolve(runDirectory));
  const before: Before = {
    owner: (await readOwner(paths.directory))?.id,
    status: await readStatus(paths.directory),
    logBytes: await sizeOf(paths.log),
  };
  const log = await openLog(paths.log);
  let trainer: Trainer;
  try {
    trainer = start(paths.directory, log.fd, options);
  } finally {
    // The child has its own copy by now.
    await log.close();
  }
  try {
    await untilOwned(trainer, paths.directory, before, options);
  } catch (error) {
    trainer.child.kill('SIGTERM');
    throw error;
  } finally {
    trainer.child.unref();
  }
  return trainer.child;
}

/** What an earlier attempt has left, so that it is not taken for this one's. */
interface Before {
  readonly owner: string | undefined;
  readonly status: RunStatus | null;
  readonly logBytes: number;
}

type End = { readonly code: number | null; readonly signal: NodeJS.Signals | null } | { readonly error: Error };

interface Trainer {
  readonly child: ChildProcess;
  /** null while it runs. */
  readonly end: () => End | null;
}

function start(runDirectory: string, log: number, options: SpawnTrainerOptions): Trainer {
  // An argument array, never a shell: run names come from the user.
  const child = spawn(
    options.nodePath ?? process.execPath,
    [options.trainerFile ?? findTrainer(), runDirectory, ...slotArguments(options)],
    {
      cwd: runDirectory,
      detached: true,
      stdio: ['ignore', log, log],
      windowsHide: true,
      env: childEnvironment(options.environment),
    },
  );
  // Listened to from the first moment: an error event that nobody hears ends this process.
  let end: End | null = null;
  child.once('error', (error) => (end ??= { error }));
  child.once('exit', (code, signal) => (end ??= { code, signal }));
  return { child, end: () => end };
}

function slotArguments({ slot }: SpawnTrainerOptions): string[] {
  return slot === undefined ? [] : ['--slot', slot];
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

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0;
    throw error;
  }
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

async function untilOwned(
  trainer: Trainer,
  runDirectory: string,
  before: Before,
  options: SpawnTrainerOptions,
): Promise<void> {
  const timeout = options.timeout ?? 60_000;
  for (const begin = performance.now(); performance.now() - begin < timeout;) {
    const end = trainer.end();
    if (end !== null) {
      await requireGoodEnd(end, runDirectory, before);
      return;
    }
    const owner = await readOwner(runDirectory);
    if (owner !== null && owner.id !== before.owner) return;
    await sleep(POLL, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  throw new UserError(
    'TrainerNotStarted',
    `the trainer did not begin within ${String(timeout / 1000)} s and was ended`,
    { hint: `See ${runPaths(runDirectory).log}` },
  );
}

/** A run may be over before anyone has looked; only a bad end is an error. */
async function requireGoodEnd(end: End, runDirectory: string, before: Before): Promise<void> {
  if ('error' in end) {
    throw new UserError('TrainerNotStarted', `the trainer could not be started (${messageOf(end.error)})`, {
      cause: end.error,
    });
  }
  if (end.code === 0) return;
  const status = await readStatus(runDirectory);
  if (status?.error && JSON.stringify(status) !== JSON.stringify(before.status)) {
    const { code, message, hint } = status.error;
    throw new UserError(code, message, hint === undefined ? {} : { hint });
  }
  const how = end.signal === null ? `with exit code ${String(end.code)}` : `by ${end.signal}`;
  const { log } = runPaths(runDirectory);
  const tail = await logTail(log, before.logBytes);
  throw new UserError(
    'TrainerDied',
    `the trainer ended at once ${how}${tail === '' ? '' : `; its log ends:\n${tail}`}`,
    {
      hint: `The whole log is in ${log}. "lrqat doctor" checks this machine.`,
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
