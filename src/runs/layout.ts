// Names in a run directory, and where run directories lie.
import { existsSync } from 'node:fs';
import path from 'node:path';

export interface RunPaths {
  readonly directory: string;
  readonly experiment: string;
  readonly provenance: string;
  readonly owner: string;
  readonly status: string;
  readonly control: string;
  readonly metrics: string;
  readonly layers: string;
  readonly log: string;
  readonly notes: string;
  readonly checkpoints: string;
  readonly result: string;
  /** Some kilobytes set aside, given up when the disk is full so that the run can still say so. */
  readonly reserve: string;
}

export function runPaths(runDirectory: string): RunPaths {
  // One join for all: lists ask this for thousands of runs.
  const folder = path.join(runDirectory, path.sep);
  const at = (name: string): string => folder + name;
  return {
    directory: runDirectory,
    experiment: at('experiment.json'),
    provenance: at('provenance.json'),
    owner: at('owner.json'),
    status: at('status.json'),
    control: at('control'),
    metrics: at('metrics.jsonl'),
    layers: at('layers.jsonl'),
    log: at('log.txt'),
    notes: at('notes.json'),
    checkpoints: at('checkpoints'),
    result: at('result.json'),
    reserve: at('.reserve'),
  };
}

/** Folder that holds (or will hold) the runs of an experiment: `override` (`--runs`, the setting), else `.lrqat/runs` in the
 *  nearest ancestor that has `.lrqat/`, else in the nearest that has `.git`, else beside the experiment. */
export function runsFolderFor(experimentFile: string, override?: string): string {
  if (override !== undefined && override !== '') return path.resolve(override);
  return runsFolderAt(path.dirname(path.resolve(experimentFile)));
}

/** The same rule from a folder: what `lrqat list` shows there. */
export function runsFolderAt(folder: string): string {
  const start = path.resolve(folder);
  const home = nearestWith(start, '.lrqat') ?? nearestWith(start, '.git') ?? start;
  return path.join(home, '.lrqat', 'runs');
}

function nearestWith(start: string, name: string): string | null {
  for (let folder = start; ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, name))) return folder;
    if (path.dirname(folder) === folder) return null;
  }
}

/** Lower-case ASCII words of a name joined by hyphens; what is a legal and readable folder name everywhere. */
export function slug(name: string): string {
  const words = name
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replace(/^-+|-+$/g, '');
  return words === '' ? 'run' : words;
}

/** `<yyyymmdd-hhmmss>-<slug>` in local time; `attempt` > 1 adds a suffix where the name is taken. */
export function runName(experimentName: string, time: Date, attempt = 1): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${String(time.getFullYear())}${two(time.getMonth() + 1)}${two(time.getDate())}`;
  const clock = `${two(time.getHours())}${two(time.getMinutes())}${two(time.getSeconds())}`;
  const suffix = attempt > 1 ? `-${String(attempt)}` : '';
  return `${day}-${clock}-${slug(experimentName)}${suffix}`;
}
