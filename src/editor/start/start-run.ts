// From a checked experiment to a running trainer: what `lrqat train --detach` does, without a terminal.
import { UserError } from '../../errors';
import type { Experiment } from '../../experiment';
import { bundleFolder, findNative, NATIVE_VARIABLE } from '../../launch/native-files';
import { findTrainer, spawnTrainer } from '../../launch/spawn-trainer';
import {
  createRun,
  describeFailure,
  isEnded,
  latestComplete,
  prepareRestart,
  readState,
  recordEnd,
  sendControl,
} from '../../runs';
import { wrongPlatform } from './platform';

export interface Launch {
  readonly nodePath: string;
  readonly environment: NodeJS.ProcessEnv;
}

export interface NewRun {
  readonly experiment: Experiment;
  readonly experimentFile: string;
  readonly runsFolder: string;
}

/** What is missing on this machine has nothing to do with a run: it is said before there is one.
 *  @throws UserError WrongPlatform, NativeMissing, TrainerMissing */
export function requireEngine(environment: NodeJS.ProcessEnv): void {
  // A build that the user names may be for any machine.
  const named = (environment[NATIVE_VARIABLE] ?? '') !== '';
  const problem = named ? null : wrongPlatform(bundleFolder(), process.platform, process.arch);
  if (problem !== null) throw new UserError('WrongPlatform', problem);
  findNative(environment);
  findTrainer();
}

/** Creates a run and starts its trainer.
 *  @returns the run directory, once the trainer owns it
 *  @throws UserError; a run that was created by then says why it failed */
export async function startRun({ experiment, experimentFile, runsFolder }: NewRun, launch: Launch): Promise<string> {
  requireEngine(launch.environment);
  const command = ['lrqat', 'train', experimentFile];
  const { directory } = await createRun({ runsFolder, experiment, experimentFile, command });
  await spawn(directory, launch);
  return directory;
}

export type Resumed = { readonly how: 'continued' } | { readonly how: 'restarted'; readonly fromStep: number | null };

/** A paused run goes on, one that has ended is started again from its last complete checkpoint.
 *  @throws UserError RunNotResumable, or why the trainer did not start */
export async function resumeRun(directory: string, launch: Launch): Promise<Resumed> {
  const { state } = await readState(directory);
  switch (state) {
    case 'finished':
      throw new UserError('RunNotResumable', 'the run is finished: there is nothing to resume');
    case 'stopping':
      throw new UserError('RunNotResumable', 'the run is being stopped; try again in a moment');
    case 'running':
    case 'starting':
      throw new UserError('RunNotResumable', 'the run is in progress already');
    case 'paused':
      await sendControl(directory, 'resume');
      return { how: 'continued' };
    case 'queued':
    case 'stopped':
    case 'failed':
    case 'crashed':
    case 'stale': {
      requireEngine(launch.environment);
      await prepareRestart(directory);
      const checkpoint = await latestComplete(directory);
      await spawn(directory, launch);
      return { how: 'restarted', fromStep: checkpoint?.step ?? null };
    }
  }
}

/** A trainer that does not come up leaves a run that says why. */
async function spawn(directory: string, { nodePath, environment }: Launch): Promise<void> {
  try {
    await spawnTrainer(directory, { nodePath, environment });
  } catch (error) {
    if (!isEnded((await readState(directory)).state)) {
      await recordEnd(directory, 'failed', describeFailure(error, directory));
    }
    throw error;
  }
}
