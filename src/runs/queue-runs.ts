// From checked experiments to queued runs.
import { randomBytes } from 'node:crypto';
import type { Experiment } from '../experiment';
import { createRun, type CreatedRun } from './create-run';
import { appendToQueue, cancelQueued } from './queue';

export interface RunToQueue {
  readonly experiment: Experiment;
  /** What was swept, by key path; null: the file has no sweep. */
  readonly values: Readonly<Record<string, unknown>> | null;
  /** Of the combination. */
  readonly name?: string;
}

export interface QueueRunsPlace {
  readonly runsFolder: string;
  readonly experimentFile: string;
  readonly command: readonly string[];
  /** What an experiment may wait for; of several devices its runs are given each in turn. */
  readonly devicesOf: (experiment: Experiment) => Promise<readonly string[]>;
}

/** Makes a run directory for each and puts them at the end of the queue; all of them, or in a failure none.
 *  @throws what createRun throws */
export async function queueRuns(
  runs: readonly RunToQueue[],
  { runsFolder, experimentFile, command, devicesOf }: QueueRunsPlace,
): Promise<CreatedRun[]> {
  const id = randomBytes(8).toString('hex');
  const devices = new Map<string, readonly string[]>();
  const dealt = new Map<string, number>();
  for (const { experiment } of runs) {
    if (!devices.has(experiment.device)) devices.set(experiment.device, await devicesOf(experiment));
  }
  const created: CreatedRun[] = [];
  try {
    for (const [index, { experiment, values, name = experiment.name }] of runs.entries()) {
      const sweep = values === null ? {} : { sweep: { id, name, position: index + 1, runs: runs.length, values } };
      const choices = devices.get(experiment.device) ?? [];
      const turn = dealt.get(experiment.device) ?? 0;
      dealt.set(experiment.device, turn + 1);
      const queuedFor = choices[turn % choices.length] ?? 'cpu';
      created.push(await createRun({ runsFolder, experiment, experimentFile, command, queuedFor, ...sweep }));
    }
    await appendToQueue(
      runsFolder,
      created.map(({ name }) => name),
    );
  } catch (error) {
    for (const { directory } of created) await cancelQueued(directory).catch(() => false);
    throw error;
  }
  return created;
}
