// The training loop, top to bottom.
//
// `progress` is the whole state of the loop beside the engine's; between two statements of the loop it always describes a
// point that a checkpoint may be taken at.

import type { StepResult, TokenBatch } from '../../native/binding/addon';
import { UserError } from '../errors';
import { staticRangesOf } from '../experiment';
import type { LayerEvent } from '../runs';
import type { TrainingData } from './data/training-data';
import { gpuMeter } from './gpu-meter';
import { measureForRun } from './measure-run';
import { better, finiteOrNull, perplexityOf, type Measurement, type Progress } from './progress';
import { saveCheckpoint } from './save-checkpoint';
import { trainedFloats } from '../experiment/float-groups';
import { FLOAT_GROUPS } from '../experiment/float-parameters';
import { trainsWeights, trainsZeroPoints } from '../experiment/quantized-linears';
import { learningRateFactor } from './schedule';
import { isCancelled, memoryNow, residentPeak, type Session } from './session';
import type { Teacher } from './teacher';

/** Steps in a row without a finite loss and gradient after which a run ends. */
export const SKIPPED_IN_ROW_LIMIT = 5;

/**
 * Trains from `session.progress.step` to the last step, evaluating and saving on the way. When it returns, the last step is
 * evaluated and saved.
 * @throws StopRequested when told to stop; UserError NotFinite
 */
export async function train(session: Session, data: TrainingData, teacher: Teacher | null): Promise<void> {
  const { experiment, engine, desk, progress, writer, pace } = session;
  const { training } = experiment;
  const zeroPoints = Object.values(session.linears).some((spec) => spec !== null && trainsZeroPoints(spec));
  const weights = Object.values(session.linears).some((spec) => spec !== null && trainsWeights(spec));
  const floats = trainedFloats(experiment, session.model.shape);
  const groups = FLOAT_GROUPS.filter((group) => floats?.[group] === true);
  const ranges = staticRangesOf(session.experiment);
  const readGpu = gpuMeter(session.addon, session.device);
  // Taken from the data but not trained on yet: an interrupted step is made again with the same tokens.
  let batch: TokenBatch | null = null;

  const save = (): Promise<void> => saveCheckpoint(session);

  while (true) {
    await desk.point(save);
    if (evaluationDue(session) && progress.evaluatedAt !== progress.step) await evaluate(session, save);
    if (desk.wantsCheckpoint || (checkpointDue(session) && session.savedAt !== progress.step)) await save();
    if (progress.step >= training.steps) return;

    const factor = learningRateFactor(training, progress.step);
    const learningRate = {
      lowRank: training.learningRate.lowRank * factor,
      scales: training.learningRate.scales * factor,
      ...(zeroPoints
        ? { zeroPoints: (training.learningRate.zeroPoints ?? training.learningRate.scales) * factor }
        : {}),
      ...(weights ? { weights: training.learningRate.weights * factor } : {}),
      ...Object.fromEntries(groups.map((group) => [group, (training.learningRate[group] ?? 0) * factor])),
      ...(ranges?.learn === true ? { activations: ranges.learningRate * factor } : {}),
    };
    const { beta1, beta2, epsilon, weightDecay, gradientClip } = training;
    pace.stepBegins();
    batch ??= await nextBatch(data, training.batchSize, teacher);
    let result: StepResult;
    try {
      result = await engine.trainStep(batch, { learningRate, beta1, beta2, epsilon, weightDecay, gradientClip });
    } catch (error) {
      if (!isCancelled(error)) throw error;
      // Interrupted for a pause or a stop, which the next point answers; nothing has changed.
      pace.stepInterrupted();
      continue;
    }
    batch = null;
    const seconds = pace.stepEnds();

    progress.step += 1;
    progress.data = data.state();
    progress.skippedInRow = result.skipped ? progress.skippedInRow + 1 : 0;
    if (result.skipped) progress.skipped += 1;
    progress.trainedTokens += result.tokens;
    progress.trainingSeconds += seconds;
    progress.residentPeak = Math.max(progress.residentPeak, residentPeak());

    const tokensPerSecond = result.tokens / seconds;
    const memory = memoryNow(engine);
    const loss = finiteOrNull(result.loss);
    const gpu = readGpu();
    await session.emit({
      type: 'step',
      step: progress.step,
      loss,
      ...(result.crossEntropy === undefined ? {} : { crossEntropy: finiteOrNull(result.crossEntropy) }),
      ...(result.divergence === undefined ? {} : { divergence: finiteOrNull(result.divergence) }),
      learningRate,
      gradientNorm: finiteOrNull(result.gradientNorm),
      tokens: result.tokens,
      tokensPerSecond,
      memory,
      ...(gpu === undefined ? {} : { gpu }),
      time: Date.now(),
      ...(result.skipped ? { skipped: true } : {}),
    });
    writer.update({
      step: progress.step,
      loss,
      tokensPerSecond,
      memory,
      ...(gpu === undefined ? {} : { gpu }),
      etaSeconds: pace.secondsLeft(training.steps - progress.step, evaluationsLeft(session)),
    });
    if (result.skipped) {
      await writer.log(`step ${String(progress.step)}: loss or gradient is not finite, nothing was changed`);
      if (progress.skippedInRow >= SKIPPED_IN_ROW_LIMIT) throw notFinite(progress);
    }
  }
}

async function nextBatch(data: TrainingData, size: number, teacher: Teacher | null): Promise<TokenBatch> {
  const drawn = data.draw(size);
  const batch = data.batch(drawn);
  return teacher === null ? batch : { ...batch, teacher: await teacher.rows(drawn) };
}

/** Trained perplexity of the validation text, and what has become of the weights. */
async function evaluate(session: Session, save: () => Promise<void>): Promise<void> {
  const { engine, desk, progress, writer, experiment, pace } = session;
  const { step } = progress;
  const begun = performance.now();
  const last = step >= experiment.training.steps;
  const trained: Record<string, Measurement> = {};
  for (const text of session.texts) {
    // Other kinds are measured at the start and the end of a run.
    if (text.kind !== 'validation' && !last) continue;
    const measurement = await measureForRun(session, engine, text, 'trained', step, () => desk.point(save));
    trained[text.kind] = measurement;
    if (text.kind === 'validation') progress.best = better(progress.best, step, perplexityOf(measurement));
  }
  const statistics = await engine.layerStatistics();
  await writer.layers(
    statistics.map(({ name, clippedShare, flipped, weights, scaleDrift, zeroPointDrift }): LayerEvent => ({
      type: 'layer',
      step,
      name,
      clippedShare: finiteOrNull(clippedShare),
      flipped,
      weights,
      scaleDrift: finiteOrNull(scaleDrift),
      ...(zeroPointDrift === undefined ? {} : { zeroPointDrift: finiteOrNull(zeroPointDrift) }),
    })),
  );
  progress.trained = trained;
  progress.evaluatedAt = step;
  pace.evaluated((performance.now() - begun) / 1000);
  writer.update({ best: progress.best });
}

/** After every so many steps, and after the last. What step 0 gives is measured before training (measure-run.ts). */
function evaluationDue({ progress: { step }, experiment }: Session): boolean {
  return step > 0 && isDue(step, experiment.evaluation.everySteps, experiment.training.steps);
}

function checkpointDue({ progress: { step }, experiment }: Session): boolean {
  return step > 0 && isDue(step, experiment.checkpoint.everySteps, experiment.training.steps);
}

function isDue(step: number, every: number, last: number): boolean {
  return step >= last || (every > 0 && step % every === 0);
}

/** The last one is made twice, trained and merged. */
function evaluationsLeft({ progress: { step }, experiment: { evaluation, training } }: Session): number {
  const every = evaluation.everySteps;
  return every === 0 ? 2 : 1 + Math.ceil(training.steps / every) - Math.floor(step / every);
}

function notFinite({ step, skippedInRow }: Progress): UserError {
  return new UserError(
    'NotFinite',
    `loss or gradient was not finite in ${String(skippedInRow)} steps in a row, the last of them step ${String(step)}`,
    { hint: 'Lower training.learningRate, or set training.gradientClip. What was saved before is still there.' },
  );
}
