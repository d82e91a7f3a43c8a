// Measurements of a run outside of its training loop: before the first step and after the last.

import type { Engine, WeightForm } from '../../native/binding/addon';
import type { Evaluations } from './evaluations';
import type { EvaluationText } from './evaluation-text';
import { measure } from './measure';
import { finiteOrNull, lossOf, perplexityOf, type Measurement } from './progress';
import type { PreparedRun } from './session';

/** Measures and reports one text under one form. */
export async function measureForRun(
  run: PreparedRun,
  engine: Engine,
  text: EvaluationText,
  form: WeightForm,
  step: number,
  point: () => Promise<void> = () => run.desk.point(),
): Promise<Measurement> {
  const { writer } = run;
  writer.update({ phase: `evaluating: ${form}, ${text.kind}`, progress: { done: 0, total: text.batchCount } });
  const measurement = await measure(engine, text, {
    form,
    point,
    onProgress: (done, total) => writer.update({ progress: { done, total } }),
  });
  await run.emit({
    type: 'eval',
    step,
    kind: text.kind,
    form,
    perplexity: perplexityOf(measurement),
    loss: finiteOrNull(lossOf(measurement)),
    tokens: measurement.tokens,
    time: Date.now(),
  });
  writer.update({ phase: null, progress: null });
  return measurement;
}

/** What does not depend on training, once a run: the float model and round-to-nearest. The event comes before the note that
 *  it is done, so that a kill in between repeats it rather than losing it. */
export async function measureBaselines(
  run: PreparedRun,
  engine: Engine,
  texts: readonly EvaluationText[],
  evaluations: Evaluations,
): Promise<void> {
  for (const text of texts) {
    for (const form of ['float', 'round-to-nearest'] as const) {
      if (evaluations.get(text, form) !== undefined) continue;
      const begun = performance.now();
      await evaluations.set(text, await measureForRun(run, engine, text, form, 0));
      if (text.kind === 'validation') run.pace.evaluated((performance.now() - begun) / 1000);
    }
  }
}

export function hasBaselines(texts: readonly EvaluationText[], evaluations: Evaluations): boolean {
  return texts.every(
    (text) => evaluations.get(text, 'float') !== undefined && evaluations.get(text, 'round-to-nearest') !== undefined,
  );
}
