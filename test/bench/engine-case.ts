// One model and experiment measured: training steps and, between them, products alone at the step's own shapes, by the GEMM
// library and as the engine makes them, so that all see the same machine in the same minute.

import os from 'node:os';
import type { Engine, LrqatAddon, OptimizerSettings, TokenBatch } from '../../native/binding/addon';
import {
  describeCheckpointing,
  formatBytes,
  multipliesBf16,
  parseExperiment,
  planRun,
  type Experiment,
  type RunPlan,
} from '../../src/experiment';
import { trainingStepCost, type FlopParts } from '../../src/experiment/cost';
import { layoutOf } from '../../src/experiment/planner';
import { openModel } from '../../src/formats';
import { LINEAR_NAMES, linearSize } from '../../src/formats/model-shape';
import { learningRateFactor } from '../../src/trainer/schedule';
import { randomBatches, textBatches } from './batches';
import { gemmFlops, gemmShapes } from './gemm-shapes';

export interface NativeBuild {
  readonly addon: LrqatAddon;
  /** The oneDNN glue; null: the built-in products. */
  readonly oneDnn: string | null;
}

export interface CaseOptions {
  readonly title: string;
  readonly modelFolder: string;
  /** Text of an experiment file. */
  readonly experiment: string;
  /** What it trains on, with the course of its learning rates; null: random tokens at a constant rate. */
  readonly text: string | null;
  /** Wall time to spend on training steps. */
  readonly seconds: number;
}

export interface CaseResult {
  readonly tokensPerSecond: number;
  readonly shareOfCeiling: number;
}

export async function measureCase(native: NativeBuild, options: CaseOptions): Promise<CaseResult> {
  const experiment = fillDefaults(options.experiment);
  const model = await openModel(options.modelFolder);
  const cpu = native.addon.cpuInfo(native.oneDnn);
  const plan = planRun(experiment, model.shape, {
    totalMemory: os.totalmem(),
    cores: os.availableParallelism(),
    nativeBf16: multipliesBf16(cpu),
  });
  const engine = new native.addon.Engine({
    model: model.shape,
    tensors: model.tensors,
    linears: plan.linears,
    compute: plan.compute,
    threads: plan.threads,
    oneDnn: native.oneDnn,
    training: true,
    microBatchSize: experiment.training.microBatchSize,
    sequenceLength: experiment.data.sequenceLength,
    activationCheckpointing: plan.activationCheckpointing,
    keptBlocks: plan.keptBlocks,
    rebuiltWeights: plan.rebuiltWeights,
    lanes: plan.lanes,
    seed: experiment.training.seed,
    plan: plan.memory.parts,
    profile: true,
  });
  try {
    const library = cpu.gemm === null ? 'built-in products' : `${cpu.gemm.library} ${cpu.gemm.version}`;
    console.log(`\n${options.title}`);
    line('machine', `${cpu.isa}, bf16 ${cpu.bf16}, ${String(plan.threads)} threads, ${plan.compute}, ${library}`);
    line('checkpointing', describeCheckpointing(plan, model.shape.layers));
    await engine.load();
    describeLoad(await engine.takeTimings(), plan);
    const { batchSize: sequences } = experiment.training;
    const batch = { sequences, sequenceLength: experiment.data.sequenceLength };
    const nextBatch =
      options.text === null
        ? randomBatches(batch, model.shape.vocabSize)
        : await textBatches(batch, options.text, options.modelFolder);
    const training = { nextBatch, followsSchedule: options.text !== null };
    return await report(native.addon, engine, experiment, plan, training, options.seconds, native.oneDnn);
  } finally {
    await engine.close();
  }
}

function fillDefaults(text: string): Experiment {
  const { experiment, problems } = parseExperiment(text, 'bench.lrqat.json');
  if (experiment === undefined) throw new Error(problems.map((problem) => problem.message).join('\n'));
  return experiment;
}

async function report(
  addon: LrqatAddon,
  engine: Engine,
  experiment: Experiment,
  plan: RunPlan,
  training: { readonly nextBatch: () => TokenBatch; readonly followsSchedule: boolean },
  seconds: number,
  oneDnn: string | null,
): Promise<CaseResult> {
  const { batchSize } = experiment.training;
  const { sequenceLength } = experiment.data;
  const tokens = batchSize * sequenceLength;
  const layout = layoutOf(plan.input);
  const { flops } = trainingStepCost({ ...layout, activationCheckpointing: 'none' }, batchSize);
  const shapes = gemmShapes(layout);
  const { compute, threads } = plan;
  const rateOf = async (libraryAlone: boolean): Promise<number> => {
    let time = 0;
    for (const { count, ...shape } of shapes) {
      const result = await addon.gemmCeiling({ ...shape, compute, threads, oneDnn, libraryAlone });
      time += count * result.seconds;
    }
    return shapes.reduce((sum, shape) => sum + gemmFlops(shape), 0) / time;
  };

  let done = 0;
  const settings = (): OptimizerSettings => ({
    learningRate: ratesAt(training.followsSchedule ? done++ : null, experiment),
    beta1: experiment.training.beta1,
    beta2: experiment.training.beta2,
    epsilon: experiment.training.epsilon,
    weightDecay: experiment.training.weightDecay,
    gradientClip: experiment.training.gradientClip,
  });
  const step = () => engine.trainStep(training.nextBatch(), settings());
  // The first step touches all memory for the first time; it is not counted.
  await step();
  await engine.takeTimings();
  await rateOf(true);
  const steps: number[] = [];
  const ceilings: number[] = [];
  const ownRates: number[] = [];
  const end = performance.now() + 1000 * seconds;
  const rounds: number[] = [];
  while (rounds.length < 3 || performance.now() < end) {
    // Steps follow each other as in training; after the products alone the first one finds caches and threads cold.
    const round: number[] = [];
    const roundEnd = performance.now() + 1000;
    while (round.length === 0 || performance.now() < roundEnd) {
      round.push((await step()).seconds);
    }
    steps.push(...round);
    rounds.push(median(round));
    ceilings.push(await rateOf(true));
    ownRates.push(await rateOf(false));
  }

  const stepSeconds = median(steps);
  const ceiling = median(ceilings);
  const rate = totalOf(flops) / stepSeconds;
  const shareOf = (rates: readonly number[]) =>
    median(rates.map((productRate, i) => totalOf(flops) / (rounds[i] ?? stepSeconds) / productRate));
  const share = shareOf(ceilings);
  const allocated = totalOf(engine.memory());
  line(
    'training',
    `${(tokens / stepSeconds).toFixed(0)} tokens/s (median of ${String(steps.length)} steps of ${String(batchSize)} × ${String(sequenceLength)}; ` +
      `${(tokens / Math.max(...steps)).toFixed(0)} to ${(tokens / Math.min(...steps)).toFixed(0)})`,
  );
  line('operations a token', `${mega(totalOf(flops) / tokens)} million: ${describeFlops(flops, tokens)}`);
  line(
    'rate',
    `${giga(rate)}; GEMM ceiling at the step's shapes: library ${giga(ceiling)}, share ${percent(share)}; ` +
      `the engine's products ${giga(median(ownRates))}, share ${percent(shareOf(ownRates))}`,
  );
  line('time by operation', describeTimings(await engine.takeTimings(), steps));
  const statistics = await engine.layerStatistics();
  const clipped = statistics.reduce((sum, layer) => sum + layer.clippedShare * layer.weights, 0);
  const weights = statistics.reduce((sum, layer) => sum + layer.weights, 0);
  line('clipped at the end', `${percent(clipped / weights)} of the weights`);
  line(
    'engine memory',
    `${formatBytes(allocated)} allocated, ${formatBytes(plan.memory.total)} planned` +
      (allocated === plan.memory.total ? '' : ' — PLAN AND ALLOCATION DIFFER'),
  );
  line('process', `${formatBytes(process.memoryUsage().rss)} resident`);
  return { tokensPerSecond: tokens / stepSeconds, shareOfCeiling: share };
}

/** Learning rates of a step, peak rates for null. A run that is over begins again. */
function ratesAt(step: number | null, { training }: Experiment): Experiment['training']['learningRate'] {
  const { learningRate, steps } = training;
  const factor = step === null ? 1 : learningRateFactor(training, step % steps);
  return { ...learningRate, lowRank: learningRate.lowRank * factor, scales: learningRate.scales * factor };
}

/** Range search and encoding of all weights, as they happen when a run starts. */
function describeLoad(timings: Timings, plan: RunPlan): void {
  let bytes = 0;
  const names = Object.entries(plan.linears);
  for (const [index, linear] of LINEAR_NAMES.entries()) {
    const { outputs, inputs } = linearSize(plan.input.shape, linear);
    const quantized = names.filter(([, spec], i) => spec !== null && i % LINEAR_NAMES.length === index).length;
    bytes += quantized * outputs * inputs * Float32Array.BYTES_PER_ELEMENT;
  }
  const seconds = timings['quantize']?.seconds;
  if (seconds === undefined || bytes === 0) return;
  const methods = new Set(names.flatMap(([, spec]) => (spec === null ? [] : [spec.range])));
  line(
    'range estimation',
    `${(bytes / seconds / 1e9).toFixed(3)} GB/s of float32 weights (${[...methods].join(', ')}; ${formatBytes(bytes)} in ${seconds.toFixed(2)} s)`,
  );
}

function describeFlops(flops: FlopParts, tokens: number): string {
  return Object.entries(flops)
    .filter(([, value]) => value > 0)
    .map(([part, value]: [string, number]) => `${part} ${mega(value / tokens)}`)
    .join(', ');
}

type Timings = Awaited<ReturnType<Engine['takeTimings']>>;

function describeTimings(timings: Timings, steps: readonly number[]): string {
  const whole = steps.reduce((sum, step) => sum + step, 0);
  const parts = Object.entries(timings).sort(([, a], [, b]) => b.seconds - a.seconds);
  const shown = parts.filter(([, { seconds }]) => seconds > 0.005 * whole);
  const measured = parts.reduce((sum, [, { seconds }]) => sum + seconds, 0);
  return [
    ...shown.map(([name, { seconds }]) => `${name} ${percent(seconds / whole)}`),
    `rest ${percent(1 - measured / whole)}`,
  ].join(', ');
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export const line = (label: string, text: string): void => {
  console.log(`  ${label.padEnd(20)}${text}`);
};
const totalOf = (parts: object): number => Object.values(parts).reduce((sum: number, part) => sum + Number(part), 0);
const mega = (value: number) => (value / 1e6).toFixed(2);
const giga = (value: number) => `${(value / 1e9).toFixed(1)} GFLOP/s`;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
