// Checkpoints on disk: checkpoints/step-00000500/{adapter,optimizer}.safetensors, trainer.json, DONE.
//
// A checkpoint is written under a hidden name, every file and the folder waited for, DONE last, and then renamed: a name
// `step-…` never stands for less than a whole checkpoint, whatever kills the process or the machine in between. Φ0 and s0 are
// not part of it (base.ts).

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Engine, ParameterInfo, StateKind } from '../../native/binding/addon';
import { messageOf, systemErrorCode, UserError } from '../errors';
import { atomicWriteFile } from '../formats/atomic-file';
import type { FileSystem } from '../formats/file-system';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors, type TensorToWrite } from '../formats/safetensors-writer';
import { checkpointDirectory, DONE_FILE, listCheckpoints, type Checkpoint } from '../runs';
import { jsonText } from '../runs/json-file';
import type { Progress } from './progress';

export const CHECKPOINT_SCHEMA = 1;
export const ADAPTER_FILE = 'adapter.safetensors';
const OPTIMIZER_FILE = 'optimizer.safetensors';
const TRAINER_FILE = 'trainer.json';
const FILES = [ADAPTER_FILE, OPTIMIZER_FILE, TRAINER_FILE] as const;

/** What a checkpoint needs of an engine. */
export type StateHolder = Pick<
  Engine,
  'parameters' | 'readState' | 'writeState' | 'optimizerStep' | 'setOptimizerStep'
>;

/** trainer.json: all that is not a tensor. */
export interface TrainerState {
  readonly schema: number;
  /** Adam's count of updates. */
  readonly optimizerStep: number;
  /** Digest of the Φ0 and s0 that A, B and s belong to. */
  readonly baseDigest: string;
  readonly progress: Progress;
}

/** Name of a trained number's tensor in adapter.safetensors: `model.layers.0.self_attn.q_proj.a`. */
export function tensorName({ linear, kind }: ParameterInfo, state: StateKind = 'value'): string {
  return state === 'value' ? `${linear}.${kind}` : `${linear}.${kind}.${state}`;
}

/** Writes the checkpoint of `state.progress.step`. A failure leaves earlier checkpoints as they were.
 *  @throws the file system's error, e.g. ENOSPC */
export async function writeCheckpoint(
  fileSystem: FileSystem,
  runDirectory: string,
  engine: StateHolder,
  state: Pick<TrainerState, 'baseDigest' | 'progress'>,
): Promise<void> {
  const directory = checkpointDirectory(runDirectory, state.progress.step);
  const parent = path.dirname(directory);
  const temporary = path.join(parent, `.${path.basename(directory)}.tmp`);
  await fileSystem.mkdir(parent);
  await fileSystem.removeTree(temporary);
  try {
    await fileSystem.mkdir(temporary);
    await writeFiles(fileSystem, temporary, engine, state);
    await removeCheckpoint(fileSystem, directory);
    await fileSystem.rename(temporary, directory);
  } catch (error) {
    await fileSystem.removeTree(temporary).catch(() => undefined);
    throw error;
  }
  await fileSystem.syncFolder(parent);
}

async function writeFiles(
  fileSystem: FileSystem,
  folder: string,
  engine: StateHolder,
  { baseDigest, progress }: Pick<TrainerState, 'baseDigest' | 'progress'>,
): Promise<void> {
  const parameters = engine.parameters();
  const tensors = (...states: StateKind[]): TensorToWrite[] =>
    parameters.flatMap((parameter) =>
      states.map((state) => ({
        name: tensorName(parameter, state),
        dtype: 'F32',
        shape: parameter.shape,
        data: () => engine.readState(parameter.linear, parameter.kind, state),
      })),
    );
  const metadata = { format: 'lrqat-adapter', step: String(progress.step), base: baseDigest };
  await writeSafetensors(path.join(folder, ADAPTER_FILE), tensors('value'), { fileSystem, metadata });
  await writeSafetensors(path.join(folder, OPTIMIZER_FILE), tensors('moment1', 'moment2'), { fileSystem, metadata });
  const trainer: TrainerState = {
    schema: CHECKPOINT_SCHEMA,
    optimizerStep: engine.optimizerStep(),
    baseDigest,
    progress,
  };
  await atomicWriteFile(path.join(folder, TRAINER_FILE), jsonText(trainer), fileSystem);
  const sizes = await Promise.all(
    FILES.map(async (name) => [name, (await stat(path.join(folder, name))).size] as const),
  );
  await atomicWriteFile(path.join(folder, DONE_FILE), jsonText(Object.fromEntries(sizes)), fileSystem);
}

/** DONE goes first, so that a removal cut short leaves nothing that looks complete. */
async function removeCheckpoint(fileSystem: FileSystem, directory: string): Promise<void> {
  try {
    await fileSystem.unlink(path.join(directory, DONE_FILE));
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
  await fileSystem.removeTree(directory);
}

/** A checkpoint whose files are all there and as long as they were written. */
export interface ReadableCheckpoint {
  readonly directory: string;
  readonly state: TrainerState;
}

/** The newest checkpoint that can be read; null: there is none.
 *  @param onDamaged hears of complete ones that were passed over */
export async function newestCheckpoint(
  runDirectory: string,
  onDamaged: (message: string) => void,
): Promise<ReadableCheckpoint | null> {
  const complete = (await listCheckpoints(runDirectory)).filter((checkpoint) => checkpoint.complete);
  for (const checkpoint of complete.reverse()) {
    try {
      return await readCheckpoint(checkpoint);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      onDamaged(error.message);
    }
  }
  return null;
}

/** @throws UserError DamagedCheckpoint */
export async function readCheckpoint({
  directory,
  step,
}: Pick<Checkpoint, 'directory' | 'step'>): Promise<ReadableCheckpoint> {
  const sizes = await jsonIn(directory, DONE_FILE);
  for (const name of FILES) {
    const size = await stat(path.join(directory, name)).then(
      (found) => found.size,
      () => null,
    );
    if (size === null) throw damaged(directory, `${name} is missing`);
    if (sizes[name] !== size) {
      throw damaged(directory, `${name} has ${String(size)} bytes, ${String(sizes[name])} were written`);
    }
  }
  const state = await jsonIn(directory, TRAINER_FILE);
  if (!isTrainerState(state)) throw damaged(directory, `${TRAINER_FILE} is not of schema ${String(CHECKPOINT_SCHEMA)}`);
  if (state.progress.step !== step) throw damaged(directory, `holds step ${String(state.progress.step)}`);
  return { directory, state };
}

async function jsonIn(directory: string, name: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path.join(directory, name), 'utf8'));
  } catch (error) {
    throw damaged(directory, `${name} cannot be read (${messageOf(error)})`);
  }
  if (typeof value !== 'object' || value === null) throw damaged(directory, `${name} is no JSON object`);
  return value as Record<string, unknown>;
}

function isTrainerState(value: object): value is TrainerState {
  if (!('schema' in value) || value.schema !== CHECKPOINT_SCHEMA) return false;
  if (!('optimizerStep' in value) || !Number.isSafeInteger(value.optimizerStep)) return false;
  if (!('baseDigest' in value) || typeof value.baseDigest !== 'string') return false;
  if (!('progress' in value) || typeof value.progress !== 'object' || value.progress === null) return false;
  return 'step' in value.progress && Number.isSafeInteger(value.progress.step);
}

/** Puts a checkpoint's numbers into the engine.
 *  @param what `all`, or only the trained values for an engine that just evaluates
 *  @throws UserError DamagedCheckpoint when its tensors are not those of this engine */
export async function restoreCheckpoint(
  engine: StateHolder,
  { directory, state }: ReadableCheckpoint,
  what: 'all' | 'values' = 'all',
): Promise<void> {
  await restoreTensors(engine, directory, ADAPTER_FILE, ['value']);
  if (what === 'values') return;
  await restoreTensors(engine, directory, OPTIMIZER_FILE, ['moment1', 'moment2']);
  engine.setOptimizerStep(state.optimizerStep);
}

async function restoreTensors(
  engine: StateHolder,
  directory: string,
  name: string,
  states: readonly StateKind[],
): Promise<void> {
  const file = await SafetensorsFile.open(path.join(directory, name));
  try {
    const parameters = engine.parameters();
    if (file.tensors.size !== parameters.length * states.length) {
      throw damaged(
        directory,
        `${name} has ${String(file.tensors.size)} tensors, the experiment trains ${String(parameters.length * states.length)}`,
      );
    }
    for (const parameter of parameters) {
      for (const state of states) {
        const tensor = tensorName(parameter, state);
        const { shape } = file.info(tensor);
        if (shape.join() !== parameter.shape.join()) {
          throw damaged(directory, `${tensor} is [${shape.join(', ')}], expected [${parameter.shape.join(', ')}]`);
        }
        await engine.writeState(parameter.linear, parameter.kind, state, await file.readTensorAs(tensor, 'F32'));
      }
    }
  } finally {
    await file.close();
  }
}

function damaged(directory: string, what: string): UserError {
  return new UserError('DamagedCheckpoint', `${directory}: ${what}`, {
    hint: 'Remove this checkpoint; the run then resumes from the one before.',
  });
}
