// The end of a run: merge, measure what was merged, write result.json.

import path from 'node:path';
import type { Engine, WeightForm } from '../../native/binding/addon';
import { isTrained } from '../experiment';
import { trainedFloats } from '../experiment/float-groups';
import { totalBytes } from '../experiment/memory-layout';
import { checkpointDirectory, gapClosed, RESULT_SCHEMA, type FourPerplexities, type RunResult } from '../runs';
import { readCheckpoint, restoreCheckpoint } from './checkpoint';
import { closeEngine, createLongEngine, loadEngine } from './engines';
import type { Evaluations } from './evaluations';
import type { EvaluationText } from './evaluation-text';
import { measureForRun } from './measure-run';
import { attachMerged, mergedFile, writeMerged, type QuantizedModel } from './merge';
import { perplexityOf, type Measurement } from './progress';
import { residentPeak, type Session } from './session';
import { modelSizes } from './sizes';

type Forms = Partial<Record<WeightForm, Measurement>>;

/** Merges and measures a run whose last step is done and saved, and writes its result. Closes the session's engine.
 *  @throws StopRequested; the run can then be finished by a resume */
export async function finish(session: Session, evaluations: Evaluations): Promise<RunResult> {
  const { directory, fileSystem, writer, desk, engine, progress, model, linears, experiment } = session;
  const quantized: QuantizedModel = { shape: model.shape, linears, floats: trainedFloats(experiment, model.shape) };
  const file = mergedFile(directory);
  await desk.point();
  writer.update({ phase: 'merging', etaSeconds: null });
  await writeMerged(fileSystem, file, engine, quantized, {
    step: String(progress.step),
    base: session.baseDigest,
    model: path.basename(model.folder),
  });
  await fileSystem.syncFolder(directory);

  const measured = new Map<EvaluationText, Forms>();
  let peakMemoryBytes = totalBytes(engine.memory());
  await attachMerged(engine, file, quantized);
  for (const text of session.texts) {
    const trained = progress.trained[text.kind];
    const merged = await measureForRun(session, engine, text, 'merged', progress.step);
    measured.set(text, formsOf(session, evaluations, text, trained, merged));
  }
  await closeEngine(session, engine);
  for (const text of session.longTexts) {
    const long = createLongEngine(session, text.sequenceLength);
    try {
      peakMemoryBytes = Math.max(peakMemoryBytes, totalBytes(long.memory()));
      measured.set(text, await measureLong(session, long, text, quantized, evaluations));
    } finally {
      await closeEngine(session, long);
    }
  }

  // In the order that the experiment names them: the first is the run's headline.
  const perplexities = experiment.evaluation.kinds.flatMap((kind) =>
    [...measured].flatMap(([text, forms]) => (text.kind === kind ? [[kind, fourPerplexities(forms)] as const] : [])),
  );
  const first = perplexities[0]?.[1] ?? fourPerplexities({});
  const { bitsPerWeight, modelBytes, float } = modelSizes({ ...quantized, tensors: model.tensors });
  const trainedTokens = isTrained(experiment) ? progress.trainedTokens : 0;
  const result: RunResult = {
    schema: RESULT_SCHEMA,
    perplexity: first,
    evaluations: Object.fromEntries(perplexities),
    bitsPerWeight,
    modelBytes,
    float,
    gapClosed: gapClosed(first),
    peakMemoryBytes,
    residentMemoryBytes: Math.max(progress.residentPeak, residentPeak()),
    tokensPerSecond: trainedTokens === 0 ? 0 : trainedTokens / progress.trainingSeconds,
    seconds: session.secondsSoFar(),
  };
  await writer.result(result);
  return result;
}

/** A text whose sequences are too long for the training engine: trained values come from the last checkpoint. */
async function measureLong(
  session: Session,
  engine: Engine,
  text: EvaluationText,
  quantized: QuantizedModel,
  evaluations: Evaluations,
): Promise<Forms> {
  const { directory, progress, experiment } = session;
  await loadEngine(session, engine);
  let trained: Measurement | undefined;
  if (experiment.quantization.method !== 'rtn') {
    const { step } = progress;
    if (isTrained(experiment)) {
      const checkpoint = await readCheckpoint({ directory: checkpointDirectory(directory, step), step });
      await restoreCheckpoint(engine, checkpoint, 'values');
    }
    trained = await measureForRun(session, engine, text, 'trained', step);
  }
  await attachMerged(engine, mergedFile(directory), quantized);
  const merged = await measureForRun(session, engine, text, 'merged', progress.step);
  return formsOf(session, evaluations, text, trained, merged);
}

/** All four, with the proof that merging has lost nothing: the same sum to the bit as before it (method rtn: as
 *  round-to-nearest). */
function formsOf(
  { experiment }: Session,
  evaluations: Evaluations,
  text: EvaluationText,
  trained: Measurement | undefined,
  merged: Measurement,
): Forms {
  const float = evaluations.get(text, 'float');
  const rounded = evaluations.get(text, 'round-to-nearest');
  const before = experiment.quantization.method === 'rtn' ? rounded : trained;
  if (before?.lossSum !== merged.lossSum || before.tokens !== merged.tokens) {
    throw new MergeMismatch(text.kind, before, merged);
  }
  return {
    merged,
    ...(float === undefined ? {} : { float }),
    ...(rounded === undefined ? {} : { 'round-to-nearest': rounded }),
    ...(trained === undefined ? {} : { trained }),
  };
}

/** A defect of the engine, never of the user. */
export class MergeMismatch extends Error {
  override readonly name = 'MergeMismatch';
  readonly code = 'MergeMismatch';

  constructor(kind: string, before: Measurement | undefined, merged: Measurement) {
    const sum = (measurement: Measurement | undefined): string =>
      measurement === undefined
        ? 'nothing'
        : `${String(measurement.lossSum)} over ${String(measurement.tokens)} tokens`;
    super(
      `merged weights are not the trained ones: on ${kind}, ${sum(before)} before and ${sum(merged)} after merging`,
    );
  }
}

function fourPerplexities(forms: Forms): FourPerplexities {
  const of = (measurement: Measurement | undefined): number | null =>
    measurement === undefined ? null : perplexityOf(measurement);
  return {
    float: of(forms.float),
    roundToNearest: of(forms['round-to-nearest']),
    trained: of(forms.trained),
    merged: of(forms.merged),
  };
}
