// How fast this machine would train an experiment, from some steps of the engine that would: `lrqat estimate` and the editor ask a
// process of its own, which loads the model, or a few of its blocks, trains on random tokens and forgets all.

import type { Engine, EngineConfig, LrqatAddon, OptimizerSettings, TokenBatch } from '../../native/binding/addon';
import { UserError } from '../errors';
import {
  calibrationFromGemm,
  distillationOf,
  guessedCalibration,
  guessedGpuCalibration,
  isTrained,
  parseExperiment,
  planRun,
  resolveLinears,
  startOf,
  staticRangesOf,
  type Calibration,
  type Experiment,
} from '../experiment';
import type { StartRates } from '../experiment/calibration';
import { evaluationCost, scaledCost, trainingStepCost } from '../experiment/cost';
import { measuredCalibration, measuredStart, withEvaluation, withTeacher } from '../experiment/measured-calibration';
import { layoutOf, START_ENGINE, startCompute } from '../experiment/planner';
import { speedSample, type SpeedSample } from '../experiment/speed-sample';
import { startCost, startSecondsOf } from '../experiment/start-cost';
import { openModel, resolveModelPath, type HuggingFaceModel } from '../formats';
import { LINEAR_NAMES, linearSize } from '../formats/model-shape';
import { askCuda, findNative, loadAddon } from '../launch';
import { chooseGpu, type GpuChoice } from '../launch/gpu';
import { deviceConfig, machineForPlan, thisMachine, type Machine } from './choices';
import { engineSettings } from './engines';

/** Time that is measured at least, and repetitions. */
const TRAINING = { seconds: 0.8, times: 3 };
const EVALUATION = { seconds: 0.2, times: 3 };
/** A start that would take longer is not tried, by its guess. */
const LONGEST_START_SECONDS = 2;
/** Products of more rows only take longer to measure. */
const MEASURED_ROWS = 1024;
const COPIED_BYTES = 64 * 1024 * 1024;

/** Everything that is needed to make engines like those of the run. */
interface Bench {
  readonly addon: LrqatAddon;
  readonly oneDnn: string | null;
  readonly machine: Machine;
  readonly gpu: GpuChoice | null;
  readonly experiment: Experiment;
  readonly model: HuggingFaceModel;
}

/** @param experimentText of an experiment file with all paths resolved
 *  @throws UserError */
export async function measureSpeed(experimentText: string): Promise<Calibration> {
  const { experiment, problems } = parseExperiment(experimentText, 'experiment');
  if (experiment === undefined) throw new UserError('InvalidExperiment', problems[0]?.message ?? 'not an experiment');
  const native = findNative();
  const addon = loadAddon(native.addon);
  const { oneDnn } = native;
  const machine = thisMachine(addon.cpuInfo(oneDnn), askCuda(addon, native), addon.engineVersion);
  const model = await openModel(await resolveModelPath(experiment.model.path, process.cwd()));
  const gpu = chooseGpu(experiment.device, machine.cuda);
  const bench: Bench = { addon, oneDnn, machine, gpu, experiment, model };

  const planned = machineForPlan(machine, gpu);
  const { compute, threads } = planRun(experiment, model.shape, planned);
  const guess =
    gpu === null
      ? guessedCalibration({ ...machine.cpu, cores: threads, compute })
      : guessedGpuCalibration(gpu.device, compute);
  const sample = speedSample(experiment, model.shape, planned, guess);
  if (sample !== null) {
    const rates = await measureSteps(bench, sample, guess);
    return startOf(experiment) === null ? rates : { ...rates, start: await measureStart(bench, sample) };
  }
  if (gpu !== null) return guess;
  return measureProducts(bench, threads, compute);
}

async function measureSteps(bench: Bench, sample: SpeedSample, guess: Calibration): Promise<Calibration> {
  const { experiment } = bench;
  const { plan, shape, microBatches } = sample;
  const { microBatchSize } = experiment.training;
  const { sequenceLength } = experiment.data;
  const layout = layoutOf(plan.input);
  const oneBatch = evaluationCost(layout);
  const { activationCheckpointing, keptBlocks, rebuiltWeights, lanes } = plan;
  return withEngine(
    bench,
    {
      ...settingsOf(bench, sample),
      training: isTrained(experiment),
      microBatchSize,
      sequenceLength,
      activationCheckpointing,
      keptBlocks,
      rebuiltWeights,
      lanes,
      plan: null,
      profile: true,
    },
    async (engine) => {
      const small = randomBatch(microBatchSize, sequenceLength, shape.vocabSize);
      if (staticRangesOf(experiment) !== null) await engine.calibrateActivations(small, sequenceLength);
      const form = isTrained(experiment) ? 'trained' : 'round-to-nearest';
      const evaluate = (): Promise<unknown> => engine.evaluate(small, form, sequenceLength);
      if (!isTrained(experiment)) {
        const work = await timed(engine, evaluate, EVALUATION);
        return measuredCalibration({ cost: oneBatch, ...work }, guess);
      }
      const large = randomBatch(microBatchSize * microBatches, sequenceLength, shape.vocabSize);
      const distils = distillationOf(experiment) !== null;
      const batch = distils ? { ...large, teacher: await engine.teach(large) } : large;
      const cost = trainingStepCost(layout, microBatchSize * microBatches);
      const work = await timed(engine, () => engine.trainStep(batch, atRest(experiment)), TRAINING);
      const rates = measuredCalibration({ cost, ...work }, guess);
      const evaluated = withEvaluation(rates, oneBatch, (await timed(engine, evaluate, EVALUATION)).seconds);
      if (!distils) return evaluated;
      const taught = await timed(engine, () => engine.teach(large), EVALUATION);
      return withTeacher(evaluated, scaledCost(oneBatch, microBatches), taught.seconds);
    },
  );
}

/** On the processor, whatever the device of the run.
 *  @returns guessed rates where a start takes too long to be tried */
async function measureStart(bench: Bench, { plan, shape }: SpeedSample): Promise<StartRates | null> {
  const { experiment, machine } = bench;
  const start = startOf(experiment);
  const compute = startCompute(plan);
  const guess = guessedCalibration({ ...machine.cpu, cores: plan.threads, compute }).start;
  if (start === null || guess === null) return null;
  const few = { ...shape, layers: Math.min(shape.layers, 2) };
  const { gptq } = experiment.quantization;
  const { microBatchSize } = experiment.training;
  const { sequenceLength } = experiment.data;
  const { device, ...layout } = START_ENGINE;
  const input = { ...plan.input, shape: few, linears: resolveLinears(experiment, few), ...START_ENGINE, compute };
  const cost = startCost(layoutOf(input), start, microBatchSize * sequenceLength);
  if (startSecondsOf(cost, guess) > LONGEST_START_SECONDS) return guess;
  const settings = {
    ...settingsOf(bench, { shape: few, plan }),
    ...layout,
    device: { type: device },
    compute,
    microBatchSize,
    sequenceLength,
    plan: null,
    profile: true,
  };
  return withEngine(bench, settings, async (engine) => {
    const calibration = start.gptq ? randomBatch(microBatchSize, sequenceLength, few.vocabSize) : null;
    const { damping, activationOrder } = gptq;
    await engine.takeTimings();
    const begun = performance.now();
    await engine.findStart({
      gptq: start.gptq ? { damping, activationOrder } : null,
      lowRank: start.lowRank === null ? null : { iterations: start.lowRank },
      calibration,
    });
    const seconds = (performance.now() - begun) / 1000;
    const inside = sum(Object.values(await engine.takeTimings()).map((timing) => timing.seconds));
    return measuredStart({ cost, inside, beside: seconds - inside }, guess);
  });
}

/** Only the matrix products, where even one block would take too long. */
async function measureProducts(
  { addon, oneDnn, model, experiment }: Bench,
  threads: number,
  compute: EngineConfig['compute'],
): Promise<Calibration> {
  const rows = Math.min(MEASURED_ROWS, experiment.training.microBatchSize * experiment.data.sequenceLength);
  let seconds = 0;
  let operations = 0;
  for (const name of LINEAR_NAMES) {
    const { outputs: columns, inputs: inner } = linearSize(model.shape, name);
    const product = { rows, columns, inner, transposeB: true, compute, threads, oneDnn };
    seconds += (await addon.gemmCeiling(product)).seconds;
    operations += 2 * rows * columns * inner;
  }
  const copy = await addon.copyTime({ bytes: COPIED_BYTES, threads });
  return calibrationFromGemm(operations / seconds, (2 * COPIED_BYTES) / copy.seconds);
}

/** Settings of an engine for the blocks of the sample. */
function settingsOf(
  { oneDnn, gpu, experiment, model }: Bench,
  { shape, plan }: Pick<SpeedSample, 'shape' | 'plan'>,
): ReturnType<typeof engineSettings> {
  return engineSettings({
    model: { shape, tensors: model.tensors.filter(({ name }) => isBefore(name, shape.layers)) },
    linears: resolveLinears(experiment, shape),
    choices: plan,
    oneDnn,
    device: deviceConfig(gpu),
    experiment,
  });
}

/** A tensor of the first blocks, or of none. */
function isBefore(tensor: string, layers: number): boolean {
  const block = /^model\.layers\.(\d+)\./.exec(tensor)?.[1];
  return block === undefined || Number(block) < layers;
}

async function withEngine<Result>(
  { addon }: Bench,
  config: EngineConfig,
  body: (engine: Engine) => Promise<Result>,
): Promise<Result> {
  const engine = new addon.Engine(config);
  try {
    await engine.load();
    return await body(engine);
  } finally {
    await engine.close();
  }
}

/** Median seconds of a call, and mean seconds by operation, after one call that touches all memory for the first time. */
async function timed(
  engine: Engine,
  work: () => Promise<unknown>,
  least: { readonly seconds: number; readonly times: number },
): Promise<{ readonly seconds: number; readonly operations: Record<string, number> }> {
  await work();
  await engine.takeTimings();
  const times: number[] = [];
  while (times.length < least.times || sum(times) < least.seconds) {
    const begun = performance.now();
    await work();
    times.push((performance.now() - begun) / 1000);
  }
  const timings = Object.entries(await engine.takeTimings());
  const operations = timings.map(([name, { seconds }]): [string, number] => [name, seconds / times.length]);
  return { seconds: median(times), operations: Object.fromEntries(operations) };
}

/** Steps that take as long as any other and change nothing, so that no weight leaves its grid. */
function atRest({ training }: Experiment): OptimizerSettings {
  const { beta1, beta2, epsilon, weightDecay, gradientClip } = training;
  return { learningRate: { lowRank: 0, scales: 0 }, beta1, beta2, epsilon, weightDecay, gradientClip };
}

function randomBatch(sequences: number, length: number, vocabSize: number): TokenBatch {
  let state = 1;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  const tokens = Int32Array.from({ length: sequences * length }, () => (next() >>> 8) % vocabSize);
  const targets = Int32Array.from(tokens, (_, i) => ((i + 1) % length === 0 ? -1 : (tokens[i + 1] ?? -1)));
  return { tokens, targets };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
