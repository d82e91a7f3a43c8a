// What a run will need before it starts: memory by part, time, disk, and what would make it fit.

import type { MemoryParts } from '../../native/binding/addon';
import { LINEAR_NAMES, linearSize, type ModelShape } from '../formats/model-shape';
import { evaluationSecondsOf, secondsOf, type Calibration } from './calibration';
import { evaluationCost, sumOf, trainingStepCost, type StepCost } from './cost';
import { planDisk, type DiskPlan } from './disk';
import { distillationOf, teacherSequences } from './distillation';
import { divisors } from './divisors';
import { allTrainedNumbers } from './memory-layout';
import { mergedBytes, quantizedLinears } from './quantized-linears';
import {
  layoutOf,
  planEvaluation,
  planRun,
  planStart,
  START_ENGINE,
  startCompute,
  type Machine,
  type RunPlan,
} from './planner';
import type { Experiment } from './schema';
import { isTrained, startOf } from './start';
import { startCost, startSecondsOf } from './start-cost';

export interface EstimateInput {
  readonly experiment: Experiment;
  readonly shape: ModelShape;
  readonly machine: Machine;
  readonly calibration: Calibration;
  /** Free bytes where the run folder will lie. */
  readonly freeDisk?: number;
  /** Tokens of the validation data, where known. */
  readonly validationTokens?: number;
  /** false: `suggestions` stays empty; {@link suggestionsFor} gives them, at many times the cost of the rest. Default: true. */
  readonly withSuggestions?: boolean;
}

/** A change that would help, on its own or together with others. */
export interface Suggestion {
  readonly title: string;
  /** As `--set` takes them. */
  readonly set: readonly string[];
  /** Engine memory with the change, bytes: of the fastest plan under the limit. */
  readonly total: number;
  /** The same of the smallest plan: with less of a limit it does not run. */
  readonly least: number;
  readonly fits: boolean;
  readonly tokensPerSecond: number;
  /** false: the result of training stays the same, only memory and time change. */
  readonly changesResult: boolean;
}

export interface Estimate {
  readonly name: string;
  readonly plan: RunPlan;
  readonly parts: MemoryParts;
  /** Engine memory, bytes: the sum of the parts. */
  readonly total: number;
  /** An evaluation of longer sequences, when it needs more than training; null otherwise. */
  readonly evaluationPeak: { readonly sequenceLength: number; readonly total: number } | null;
  /** Memory of the CPU while the start is found, engine included, where that is more than training takes or lies elsewhere (on
   *  the host of a GPU); null otherwise. */
  readonly startPeak: number | null;
  /** The most of all that lies on the device of the run, bytes. */
  readonly peak: number;
  readonly limit: number;
  readonly fits: boolean;
  readonly quantizedWeights: number;
  readonly trainedParameters: number;
  /** Of the quantized linears after merging, scales and zero points included. */
  readonly bitsPerWeight: number;
  readonly cost: StepCost;
  /** The rates were measured here, not guessed from the processor. */
  readonly calibrated: boolean;
  readonly secondsPerStep: number;
  readonly tokensPerSecond: number;
  readonly trainingSeconds: number;
  /** Of the pass of the float model before the first step that distillation needs, at most; 0: there is none. */
  readonly teacherSeconds: number;
  /** Of finding the start, once before the first step; null: not known (of a run on a GPU, whose start the processor finds, where
   *  nothing was measured). */
  readonly startSeconds: number | null;
  /** null: the amount of validation data is not known. */
  readonly evaluationSeconds: number | null;
  readonly disk: DiskPlan & { readonly free: number | null; readonly fits: boolean };
  /** Only when it does not fit; those that fit first, then those that do not change the result, then the fastest. */
  readonly suggestions: readonly Suggestion[];
}

export function estimate(input: EstimateInput): Estimate {
  const { experiment, shape, machine, calibration, freeDisk, withSuggestions = true } = input;
  const plan = planRun(experiment, shape, machine);
  const cost = costOf(experiment, plan);
  const training = isTrained(experiment);
  const secondsPerStep = training ? secondsOf(cost, calibration) : 0;
  const evaluationPeak = longEvaluation(experiment, plan);
  const startPeak = planStart(experiment, plan);
  const peak = peakOf(experiment, plan);
  const fits = peak <= plan.memoryLimit;
  const disk = planDisk(experiment, shape, plan.linears);
  const quantized = quantizedLinears(plan.input);
  const weights = sumOf(quantized, ({ outputs, inputs }) => outputs * inputs);
  return {
    name: experiment.name,
    plan,
    parts: plan.memory.parts,
    total: plan.memory.total,
    evaluationPeak: evaluationPeak !== null && evaluationPeak.total > plan.memory.total ? evaluationPeak : null,
    startPeak: startPeak !== null && (plan.device !== 'cpu' || startPeak > plan.memory.total) ? startPeak : null,
    peak,
    limit: plan.memoryLimit,
    fits,
    quantizedWeights: weights,
    trainedParameters: allTrainedNumbers(plan.input),
    bitsPerWeight: weights === 0 ? 0 : (sumOf(quantized, mergedBytes) * 8) / weights,
    cost,
    calibrated: calibration.measured,
    secondsPerStep,
    tokensPerSecond: secondsPerStep > 0 ? cost.tokens / secondsPerStep : 0,
    trainingSeconds: secondsPerStep * (training ? experiment.training.steps : 0),
    teacherSeconds: teacherSeconds(input, plan),
    startSeconds: startSeconds(input, plan),
    evaluationSeconds: evaluationSeconds(input, plan),
    disk: { ...disk, free: freeDisk ?? null, fits: freeDisk === undefined || disk.total <= freeDisk },
    suggestions: fits || !withSuggestions ? [] : suggestionsFor(input),
  };
}

function costOf(experiment: Experiment, plan: RunPlan): StepCost {
  return trainingStepCost(layoutOf(plan.input), experiment.training.batchSize);
}

/** Of training, of the evaluation of longer sequences and, on the CPU, of the start; they follow each other. */
function peakOf(experiment: Experiment, plan: RunPlan): number {
  const start = plan.device === 'cpu' ? (planStart(experiment, plan) ?? 0) : 0;
  return Math.max(plan.memory.total, longEvaluation(experiment, plan)?.total ?? 0, start);
}

/** Engine memory of the WikiText protocol when its blocks are longer than the training sequences. */
function longEvaluation(experiment: Experiment, plan: RunPlan): Estimate['evaluationPeak'] {
  const { kinds, wikitext } = experiment.evaluation;
  if (!kinds.includes('wikitext') || wikitext.sequenceLength <= experiment.data.sequenceLength) return null;
  const { sequenceLength } = wikitext;
  return { sequenceLength, total: planEvaluation(plan, sequenceLength).total };
}

function startSeconds({ experiment, calibration }: EstimateInput, plan: RunPlan): number | null {
  const start = startOf(experiment);
  if (start === null) return 0;
  if (calibration.start === null) return null;
  const layout = layoutOf({ ...plan.input, ...START_ENGINE, compute: startCompute(plan) });
  const tokens = experiment.quantization.gptq.sequences * experiment.data.sequenceLength;
  return startSecondsOf(startCost(layout, start, tokens), calibration.start);
}

/** Bytes a second that a GPU gets of the float weights, which have no place in its memory and come anew for every micro-batch. A
 *  guess on the slow side: one thread copies them to where the GPU fetches them. */
const HOST_TO_GPU = 8e9;

function teacherSeconds({ experiment, shape, calibration }: EstimateInput, plan: RunPlan): number {
  if (distillationOf(experiment) === null) return 0;
  const batches = Math.ceil(teacherSequences(experiment.training) / experiment.training.microBatchSize);
  const weights =
    shape.layers *
    sumOf(
      LINEAR_NAMES.map((name) => linearSize(shape, name)),
      (l) => l.outputs * l.inputs,
    );
  const transfer = plan.device === 'cuda' ? (weights * 2) / HOST_TO_GPU : 0;
  return batches * (secondsOf(evaluationCost(layoutOf(plan.input)), calibration) * calibration.teacher + transfer);
}

function evaluationSeconds({ experiment, calibration, validationTokens }: EstimateInput, plan: RunPlan): number | null {
  const { everySteps, maxBatches, kinds } = experiment.evaluation;
  if (!kinds.includes('validation') || experiment.data.validation.length === 0) return 0;
  const perBatch = experiment.training.microBatchSize * experiment.data.sequenceLength;
  const available = validationTokens === undefined ? undefined : Math.ceil(validationTokens / perBatch);
  const batches = Math.min(maxBatches ?? Number.POSITIVE_INFINITY, available ?? Number.POSITIVE_INFINITY);
  if (!Number.isFinite(batches)) return null;
  const training = isTrained(experiment);
  // Float, round-to-nearest and merged once each; trained at its cadence and at the end, or what GPTQ gives once.
  const rounds = experiment.quantization.method === 'gptq' ? 4 : 3;
  const times = rounds + (training ? 1 + (everySteps > 0 ? Math.floor(experiment.training.steps / everySteps) : 0) : 0);
  return times * batches * evaluationSecondsOf(evaluationCost(layoutOf(plan.input)), calibration);
}

interface Change {
  readonly title: string;
  readonly changesResult: boolean;
  readonly set: readonly string[];
  readonly apply: (experiment: Experiment) => Experiment;
}

/** Single changes first; when none is enough, everything that costs no quality together, then shorter sequences as well. */
export function suggestionsFor(input: EstimateInput): Suggestion[] {
  const before = peakOf(input.experiment, planRun(input.experiment, input.shape, input.machine));
  const singles = changes(input.experiment).map((change) => tried(input, [change]));
  const helpful = singles.filter(({ total }) => total < before);
  const enough = helpful.filter(({ fits }) => fits);
  if (enough.length > 0) return ordered(largestOfEach(enough));
  const smaller = smallerWeights(input.experiment);
  const { sequenceLength } = input.experiment.data;
  const together = [
    [microBatch(1), blockCheckpointing],
    [microBatch(1), blockCheckpointing, ...smaller],
    [microBatch(1), blockCheckpointing, ...smaller, sequence(Math.max(2, sequenceLength >> 1))],
    [microBatch(1), blockCheckpointing, ...smaller, sequence(Math.max(2, sequenceLength >> 2))],
  ].map((list) =>
    tried(
      input,
      list.filter((change) => differs(change, input.experiment)),
    ),
  );
  const first = together.find(({ fits }) => fits);
  return [...(first ? [first] : together.slice(-1)), ...ordered(largestOfEach(helpful))];
}

function ordered(list: readonly Suggestion[]): Suggestion[] {
  return [...list].sort(
    (a, b) =>
      Number(b.fits) - Number(a.fits) ||
      Number(a.changesResult) - Number(b.changesResult) ||
      b.tokensPerSecond - a.tokensPerSecond,
  );
}

/** Of several values of one setting the mildest that fits, or else the strongest; candidates come mildest first. */
function largestOfEach(list: readonly Suggestion[]): Suggestion[] {
  const byKey = new Map<string, Suggestion>();
  for (const suggestion of list) {
    const key = suggestion.set[0]?.split('=')[0] ?? '';
    if (!byKey.get(key)?.fits) byKey.set(key, suggestion);
  }
  return [...byKey.values()];
}

function changes(experiment: Experiment): Change[] {
  const { training, data, quantization } = experiment;
  const smaller = divisors(training.batchSize).filter((size) => size < training.microBatchSize);
  const lengths = [1, 2, 3].map((shift) => data.sequenceLength >> shift).filter((length) => length >= 128);
  const ranks = [quantization.lowRank.rank >> 1, quantization.lowRank.rank >> 2].filter((rank) => rank >= 4);
  return [
    blockCheckpointing,
    ...smaller.reverse().map(microBatch),
    ...smallerWeights(experiment).slice(0, 1),
    ...lengths.map(sequence),
    ...ranks.map((rank): Change => ({
      title: `rank ${String(rank)}`,
      changesResult: true,
      set: [`quantization.lowRank.rank=${String(rank)}`],
      apply: (e) => ({
        ...e,
        quantization: { ...e.quantization, lowRank: { ...e.quantization.lowRank, rank } },
      }),
    })),
  ].filter((change) => differs(change, experiment));
}

function differs(change: Change, experiment: Experiment): boolean {
  return JSON.stringify(change.apply(experiment)) !== JSON.stringify(experiment);
}

const blockCheckpointing: Change = {
  title: 'block checkpointing',
  changesResult: false,
  set: ['training.activationCheckpointing=block'],
  apply: (e) => ({ ...e, training: { ...e.training, activationCheckpointing: 'block' } }),
};

/** What makes the weights and what is trained of them smaller, the strongest first; each goes with those after it. */
function smallerWeights({ quantization }: Experiment): Change[] {
  if (quantization.method === 'lsq') return [lowRankMethod, integerStorage];
  return quantization.storage === 'integer' ? [] : [integerStorage];
}

/** Instead of all weights: A and B in float32, the weights frozen. */
const lowRankMethod: Change = {
  title: 'method lr-qat',
  changesResult: true,
  set: ['quantization.method=lr-qat'],
  apply: (e) => ({ ...e, quantization: { ...e.quantization, method: 'lr-qat' } }),
};

const integerStorage: Change = {
  title: 'integer storage',
  changesResult: true,
  set: ['quantization.storage=integer'],
  apply: (e) => ({ ...e, quantization: { ...e.quantization, storage: 'integer' } }),
};

function microBatch(size: number): Change {
  return {
    title: `micro-batch ${String(size)}`,
    changesResult: false,
    set: [`training.microBatchSize=${String(size)}`],
    apply: (e) => ({ ...e, training: { ...e.training, microBatchSize: size } }),
  };
}

function sequence(length: number): Change {
  return {
    title: `sequences of ${String(length)} tokens`,
    changesResult: true,
    set: [`data.sequenceLength=${String(length)}`],
    apply: (e) => ({ ...e, data: { ...e.data, sequenceLength: length } }),
  };
}

function tried({ experiment, shape, machine, calibration }: EstimateInput, list: readonly Change[]): Suggestion {
  const changed = list.reduce((current, change) => change.apply(current), experiment);
  const plan = planRun(changed, shape, machine);
  const total = peakOf(changed, plan);
  const cost = costOf(changed, plan);
  return {
    title: list.map(({ title }) => title).join(' + '),
    set: list.flatMap(({ set }) => set),
    total,
    // What is "auto" becomes the smallest where nothing fits.
    least: Math.min(total, peakOf(changed, planRun({ ...changed, memoryLimit: 1 }, shape, machine))),
    fits: total <= plan.memoryLimit,
    tokensPerSecond: cost.tokens / secondsOf(cost, calibration),
    changesResult: list.some(({ changesResult }) => changesResult),
  };
}
