// Measuring one text under one form of the weights, one micro-batch a call so that a run can rest or stop in between.

import type { Engine, WeightForm } from '../../native/binding/addon';
import type { EvaluationText } from './evaluation-text';
import { isCancelled } from './session';
import type { Measurement } from './progress';

export interface MeasureOptions {
  readonly form: WeightForm;
  /** Quantized linears that the form is meant for; the others are float. Default: all. */
  readonly only?: readonly string[];
  /** Called before every batch; may wait, or throw to give up. */
  readonly point?: () => Promise<void>;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Batches are added in the order of the text: the same sum to the bit every time. */
export async function measure(
  engine: Pick<Engine, 'evaluate'>,
  text: EvaluationText,
  { form, only, point, onProgress }: MeasureOptions,
): Promise<Measurement> {
  let lossSum = 0;
  let tokens = 0;
  let done = 0;
  for (const batch of text.batches()) {
    for (;;) {
      await point?.();
      try {
        const result = await engine.evaluate(batch, form, text.sequenceLength, only);
        lossSum += result.lossSum;
        tokens += result.tokens;
        break;
      } catch (error) {
        // Interrupted for a pause or a stop: `point` knows which, and a pause repeats the batch.
        if (!isCancelled(error)) throw error;
      }
    }
    onProgress?.(++done, text.batchCount);
  }
  return { form, lossSum, tokens };
}
