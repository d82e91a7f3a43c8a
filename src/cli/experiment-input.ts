// From the command line to a checked, resolved experiment.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import {
  applyOverrides,
  countProblems,
  formatProblems,
  inFileOrder,
  parseExperiment,
  runsToCheck,
  validateRuns,
  type Experiment,
  type Problem,
  type RunToCheck,
  type SweepRun,
  type World,
} from '../experiment';
import type { Context } from './context';
import { worldFor } from './world';

export interface ExperimentInput {
  /** Absolute. */
  readonly file: string;
  /** With `--set` applied: places in problems are places in this text. */
  readonly text: string;
  /** Paths resolved; absent when there is an error. */
  readonly experiment?: Experiment;
  /** Of a file with a sweep: what it stands for, in order. `experiment` is the first of them. */
  readonly sweep?: readonly SweepRun[];
  readonly problems: readonly Problem[];
  /** Absent when the text alone has errors. */
  readonly world?: World;
}

/** all: everything that a run needs. model: only what the sizes of a run depend on, for an estimate, which is wanted just when
 *  memory or disk do not suffice or the texts are not there yet. */
export type Checks = 'all' | 'model';

/** Reads an experiment and finds all its problems, those that need the model and the texts included.
 *  @param runsFolder where the run would lie: its disk must have room */
export async function readExperiment(
  name: string,
  sets: readonly string[],
  runsFolder: string,
  context: Context,
  checks: Checks = 'all',
): Promise<ExperimentInput> {
  const file = path.resolve(context.folder, name);
  const text = applyOverrides(await readText(file, name), sets);
  const parsed = parseExperiment(text, name);
  const source = { text, file: name };
  const variables = { workspaceFolder: context.folder };
  const { runs, problems: unknown } = runsToCheck(parsed, source, file, variables, existsSync);
  const [first] = runs;
  if (first === undefined) return { file, text, problems: parsed.problems };
  const { experiment } = first;
  const world = await worldFor(file, runsFolder, experiment.device);
  const found: Problem[] = [];
  for (const device of new Set(runs.map((run) => run.experiment.device))) {
    const theirs = runs.filter((run) => run.experiment.device === device);
    const place = device === experiment.device ? world : await worldFor(file, runsFolder, device);
    found.push(...(await checkRuns(theirs, place, source, checks)));
  }
  const problems = inFileOrder([...parsed.problems, ...unknown, ...found]);
  return problems.some(({ severity }) => severity === 'error')
    ? { file, text, problems, world }
    : { file, text, experiment, ...(parsed.sweep === undefined ? {} : { sweep: runs }), problems, world };
}

function checkRuns(
  runs: readonly RunToCheck[],
  world: World,
  source: { readonly text: string; readonly file: string },
  checks: Checks,
): Promise<Problem[]> {
  if (checks === 'all') return validateRuns(runs, world, source);
  const unlimited = runs.map((run) => ({ ...run, experiment: { ...run.experiment, memoryLimit: 'auto' } }));
  return validateRuns(unlimited, boundless(world), source);
}

/** The experiment, or a UserError after all problems were printed. Warnings are printed as well. */
export function requireExperiment(input: ExperimentInput, name: string, context: Context): Experiment {
  const { experiment, problems, text } = input;
  if (problems.length > 0) context.messages.write(formatProblems(problems, { [name]: text }));
  if (experiment === undefined) throw new UserError('InvalidExperiment', `${name}: ${countProblems(problems)}`);
  return experiment;
}

/** The same models in a world where memory, disk and texts are always enough. */
function boundless(world: World): World {
  return {
    ...world,
    machine: { ...world.machine, totalMemory: Number.MAX_SAFE_INTEGER },
    expand: (pattern) => Promise.resolve([pattern]),
    countTokens: (_, enough) => Promise.resolve(enough),
    freeDisk: () => Promise.resolve(null),
  };
}

async function readText(file: string, name: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') {
      throw new UserError('NoSuchFile', `${name}: no such file`, {
        hint: 'FILE is an experiment file (*.lrqat.json); samples/first-run has one to start from.',
      });
    }
    if (code === 'EISDIR') throw new UserError('NoSuchFile', `${name}: is a folder, not an experiment file`);
    throw new UserError('Unreadable', `${name}: cannot be read (${code ?? String(error)})`, { cause: error });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError('Unreadable', `${name}: is not UTF-8 text`, {
      hint: 'FILE is an experiment file (*.lrqat.json), JSON with comments.',
    });
  }
}
