// Makes a new run directory: a name nobody else has, the frozen experiment, its provenance and a first status.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { version } from '../../package.json';
import { systemErrorCode, UserError } from '../errors';
import type { Experiment } from '../experiment/schema';
import { nodeFileSystem, writeFile, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { jsonText } from './json-file';
import { runName, runPaths } from './layout';
import { gitState, PROVENANCE_SCHEMA, thisMachine, type Provenance, type SweepOrigin } from './provenance';
import { newStatus } from './status-file';

export interface CreateRunOptions {
  readonly runsFolder: string;
  /** Resolved: all defaults filled in, all paths absolute. */
  readonly experiment: Experiment;
  readonly experimentFile: string;
  /** How it was asked for, for provenance.json. */
  readonly command?: readonly string[];
  /** Given: the run waits in the queue for this device (`cpu`, `cuda:0`); without it a trainer is about to start. */
  readonly queuedFor?: string;
  readonly sweep?: SweepOrigin;
  readonly fileSystem?: FileSystem;
  readonly now?: () => number;
}

export interface CreatedRun {
  readonly name: string;
  readonly directory: string;
}

/** @throws UserError RunsFolder where no run can be made in the folder, the system's error where its files cannot be written;
 *  nothing is left behind then. */
export async function createRun(options: CreateRunOptions): Promise<CreatedRun> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const now = (options.now ?? Date.now)();
  await prepareRunsFolder(options.runsFolder, fileSystem);
  const created = await claimName(options.runsFolder, options.experiment.name, now);
  try {
    await fill(created.directory, options, fileSystem, now);
    return created;
  } catch (error) {
    await fileSystem.removeTree(created.directory).catch(() => undefined);
    throw error;
  }
}

async function prepareRunsFolder(runsFolder: string, fileSystem: FileSystem): Promise<void> {
  try {
    await fileSystem.mkdir(runsFolder);
  } catch (error) {
    throw unusable(runsFolder, 'cannot be created', error);
  }
  const home = path.dirname(path.resolve(runsFolder));
  if (path.basename(home) !== '.lrqat') return;
  // Runs are large and personal: git must not see them unless the user wants it to.
  await writeFile(fileSystem, path.join(home, '.gitignore'), '*\n', { exclusive: true }).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'EEXIST') throw unusable(home, 'cannot be written to', error);
  });
}

function unusable(folder: string, how: string, cause: unknown): UserError {
  const code = systemErrorCode(cause);
  const reason = code === 'EROFS' ? 'the file system is read-only' : (code ?? String(cause));
  const hint = 'Choose a folder you can write to with --runs.';
  return new UserError('RunsFolder', `${folder}: ${how} (${reason})`, { hint, cause });
}

/** mkdir without `recursive` succeeds for one process only. */
async function claimName(runsFolder: string, experimentName: string, now: number): Promise<CreatedRun> {
  for (let attempt = 1; ; attempt++) {
    const name = runName(experimentName, new Date(now), attempt);
    const directory = path.join(path.resolve(runsFolder), name);
    try {
      await mkdir(directory);
      return { name, directory };
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw unusable(runsFolder, 'cannot be written to', error);
    }
  }
}

async function fill(
  directory: string,
  { experiment, experimentFile, command, queuedFor, sweep }: CreateRunOptions,
  fileSystem: FileSystem,
  now: number,
): Promise<void> {
  const paths = runPaths(directory);
  const provenance: Provenance = {
    schema: PROVENANCE_SCHEMA,
    created: now,
    experimentFile: path.resolve(experimentFile),
    command: command ?? [],
    versions: { lrqat: version, node: process.versions.node, v8: process.versions.v8 },
    git: await gitState(path.dirname(path.resolve(experimentFile))),
    machine: thisMachine(),
    device: null,
    seeds: { training: experiment.training.seed },
    ...(sweep === undefined ? {} : { sweep }),
    hashes: null,
  };
  await fileSystem.mkdir(paths.control);
  await fileSystem.mkdir(paths.checkpoints);
  await writeFileAtomic(fileSystem, paths.experiment, jsonText(experiment));
  await writeFileAtomic(fileSystem, paths.provenance, jsonText(provenance));
  // Last: a folder becomes a run for readers when its status is there.
  const state = queuedFor === undefined ? 'starting' : 'queued';
  const queue = queuedFor === undefined ? null : { device: queuedFor, slot: null };
  const status = { ...newStatus(state, experiment.training.steps, now), queue };
  await writeFileAtomic(fileSystem, paths.status, jsonText(status));
}
