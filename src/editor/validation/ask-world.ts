// All that can be said about an experiment file: its own problems, those of model and texts, and what a run would need. Runs in
// the world thread; pure but for the files it reads.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../../errors';
import {
  estimate,
  guessedCalibration,
  guessedGpuCalibration,
  inFileOrder,
  parseExperiment,
  planRun,
  planRuns,
  runsToCheck,
  scaledCalibration,
  validateRuns,
  type Calibration,
  type Experiment,
  type GpuFacts,
  type Problem,
  type RunPlan,
  type SweepPlan,
  type SweepRun,
  type World,
} from '../../experiment';
import type { ModelShape } from '../../formats/model-shape';
import { openWorld, thisMachine } from '../../experiment/world';
import { machineFor } from '../../launch/machine';
import { measuredFactor } from './earlier-run';
import { speedKey } from './speed-key';
import type { SweepSummary, WorldAnswer, WorldQuestion } from './world-protocol';

/** Milliseconds for which the model's and the texts' answers hold: while somebody types they do not change. */
const FRESH = 5_000;

type Sizes = Pick<WorldAnswer, 'estimate' | 'facts' | 'toMeasure'>;
const NO_ESTIMATE: Sizes = { estimate: null, facts: null, toMeasure: null };

export async function askWorld(question: WorldQuestion, now: () => number = Date.now): Promise<WorldAnswer> {
  const { id, file, text, workspaceFolder } = question;
  const parsed = parseExperiment(text, file);
  const source = { text, file };
  const variables = workspaceFolder === null ? {} : { workspaceFolder };
  const { runs, problems: unknown } = runsToCheck(parsed, source, file, variables, existsSync);
  const [first] = runs;
  if (first === undefined) return { id, problems: parsed.problems, experiment: null, sweep: null, ...NO_ESTIMATE };
  const { experiment } = first;
  const world = remember(worldOf(question, experiment.device), path.dirname(file), now);
  const found: Problem[] = [];
  for (const device of new Set(runs.map((run) => run.experiment.device))) {
    const theirs = runs.filter((run) => run.experiment.device === device);
    const place = device === experiment.device ? world : remember(worldOf(question, device), path.dirname(file), now);
    found.push(...(await validateRuns(theirs, place, source)));
  }
  const problems = inFileOrder([...parsed.problems, ...unknown, ...found]);
  const hasErrors = problems.some(({ severity }) => severity === 'error');
  const plan = hasErrors || parsed.sweep === undefined ? null : await planOf(runs, world, question);
  const sizes = parsed.experiment === undefined ? NO_ESTIMATE : await estimateOf(experiment, world, question);
  return {
    id,
    problems,
    experiment: hasErrors ? null : experiment,
    sweep: hasErrors || parsed.sweep === undefined ? null : { runs, plan },
    ...sizes,
    estimate: sizes.estimate === null ? null : { ...sizes.estimate, sweep: plan === null ? null : summaryOf(plan) },
  };
}

function summaryOf({ runs, ...whole }: SweepPlan): SweepSummary {
  return {
    ...whole,
    count: runs.length,
    tooLarge: runs.filter(({ fits }) => !fits).length,
    memory: Math.max(...runs.map(({ memory: bytes }) => bytes)),
  };
}

async function planOf(runs: readonly SweepRun[], world: World, question: WorldQuestion): Promise<SweepPlan | null> {
  const [first] = runs;
  if (first === undefined) return null;
  try {
    const shapes = new Map<string, ModelShape>();
    for (const { experiment } of runs) {
      const model = experiment.model.path;
      if (!shapes.has(model)) shapes.set(model, (await world.openModel(model)).shape);
    }
    const shapeOf = ({ experiment }: SweepRun): ModelShape => {
      const shape = shapes.get(experiment.model.path);
      if (shape === undefined) throw new RangeError(experiment.model.path);
      return shape;
    };
    const plan = planRun(first.experiment, shapeOf(first), world.machine);
    const calibration = await calibrationIn(world, plan, speedKey(first.experiment, plan), question);
    return planRuns(runs, shapeOf, world.machine, calibration, await world.freeDisk());
  } catch (error) {
    if (error instanceof UserError || error instanceof RangeError) return null;
    throw error;
  }
}

function worldOf({ file, runsFolder, probe }: WorldQuestion, device: string): World {
  // An engine that may not be asked is no reason to call a GPU missing.
  const { machine, gpuProblem } =
    probe === null ? { machine: thisMachine({ nativeBf16: false }), gpuProblem: null } : machineFor(device, probe);
  return openWorld({ machine, gpuProblem, baseFolder: path.dirname(file), runsFolder, addonFile: null });
}

async function estimateOf(experiment: Experiment, world: World, question: WorldQuestion): Promise<Sizes> {
  try {
    const { shape, folder: modelFolder } = await world.openModel(experiment.model.path);
    const plan = planRun(experiment, shape, world.machine);
    const { gpu } = world.machine;
    const key = speedKey(experiment, plan);
    const calibration = await calibrationIn(world, plan, key, question);
    const result = estimate({ experiment, shape, machine: world.machine, calibration });
    const { limit, fits, startSeconds, teacherSeconds, trainingSeconds, evaluationSeconds } = result;
    const { tokensPerSecond, calibrated, bitsPerWeight } = result;
    const suggestions = result.suggestions.map(({ title, least, fits: enough }) => ({ title, least, fits: enough }));
    const summary = {
      total: result.peak,
      limit,
      fits,
      startSeconds,
      teacherSeconds,
      trainingSeconds,
      evaluationSeconds,
      tokensPerSecond,
      calibrated,
      bitsPerWeight,
      suggestions,
      sweep: null,
    };
    const facts = { modelFolder, shape, machine: world.machine, calibration };
    return { estimate: summary, facts, toMeasure: calibrated || gpu !== undefined ? null : { key, experiment } };
  } catch (error) {
    // The reason stands among the problems; an experiment that the model does not allow has no sizes.
    if (error instanceof UserError || error instanceof RangeError) return NO_ESTIMATE;
    throw error;
  }
}

function calibrationIn(world: World, plan: RunPlan, key: string, question: WorldQuestion): Promise<Calibration> {
  const { gpu } = world.machine;
  return gpu === undefined
    ? Promise.resolve(question.rates[key] ?? processorGuess(plan, world.machine.cores, question))
    : gpuCalibration(gpu, plan.compute, world, question);
}

function processorGuess({ compute }: RunPlan, cores: number, { probe }: WorldQuestion): Calibration {
  const cpu = probe?.ok === true ? probe.cpu : null;
  return guessedCalibration({ isa: cpu?.isa ?? 'avx2', bf16: cpu?.bf16 ?? 'none', cores, compute });
}

/** From the kind of GPU; where a run of this experiment has been on it, as fast or slow as that was. */
async function gpuCalibration(
  gpu: GpuFacts,
  compute: RunPlan['compute'],
  world: World,
  { earlier }: WorldQuestion,
): Promise<Calibration> {
  const guess = guessedGpuCalibration(gpu, compute);
  const factor = earlier === null ? null : await measuredFactor(earlier, gpu.name, world, guess);
  return factor === null ? guess : scaledCalibration(guess, factor);
}

interface Remembered {
  readonly time: number;
  readonly value: Promise<unknown>;
}

const memory = new Map<string, Remembered>();

/** The same world with a memory of a few seconds for what is slow. */
function remember(world: World, folder: string, now: () => number): World {
  const keep = <Value>(key: string, ask: () => Promise<Value>): Promise<Value> => {
    const known = memory.get(key);
    if (known !== undefined && now() - known.time < FRESH) return known.value as Promise<Value>;
    const value = ask();
    memory.set(key, { time: now(), value });
    for (const [old, { time }] of memory) if (now() - time >= FRESH) memory.delete(old);
    return value;
  };
  return {
    ...world,
    openModel: (model) => keep(`model ${folder} ${model}`, () => world.openModel(model)),
    tokenizerVocabulary: (model) => keep(`vocabulary ${model.folder}`, () => world.tokenizerVocabulary(model)),
    countTokens: (request, enough) =>
      keep(`tokens ${folder} ${String(enough)} ${JSON.stringify({ ...request, model: request.model.folder })}`, () =>
        world.countTokens(request, enough),
      ),
  };
}
