// Whether training divides operations among threads or sequences: a small model's operations are over before a sleeping thread has
// woken for its share, a lane has a thread to itself from the embedding to the last gradient (native/core/lanes.h).

import { LINEAR_NAMES, linearSize } from '../formats/model-shape';
import { learnsRanges } from './activation-grids';
import type { EngineLayout } from './engine-layout';
import { quantizedLinears, trainsWeights } from './quantized-linears';

/** Products of fewer rows read their weights more often than tiles like it. */
const FEWEST_TOKENS = 512;
/** Measured up to half of this (docs/measurements); of larger models dividing each operation serves as well, in less memory. */
const MOST_WEIGHTS = 2 ** 20;
/** Gradients of a lane are its own, and added up at the end of a step. */
const MOST_LANES = 4;

/** Lanes of a training micro-batch; 1: all threads share every operation. The same for 1, 2 and 4 threads where as many sequences
 *  are there, so that these train the same bits. */
export function chooseLanes(
  plan: Pick<
    EngineLayout,
    'shape' | 'linears' | 'activations' | 'trainedFloats' | 'threads' | 'microBatchSize' | 'sequenceLength'
  >,
): number {
  const { shape, threads, microBatchSize, sequenceLength, trainedFloats } = plan;
  const widest = Math.max(
    ...LINEAR_NAMES.map((linear) => linearSize(shape, linear)).map(({ outputs, inputs }) => outputs * inputs),
  );
  // Gradients as large as the weights would be added up as many times.
  const large = trainedFloats?.head === true || trainedFloats?.embeddings === true;
  if (large || quantizedLinears(plan).some(({ spec }) => trainsWeights(spec))) return 1;
  if (widest > MOST_WEIGHTS || learnsRanges(plan)) return 1;
  for (let lanes = Math.max(MOST_LANES, threads); lanes > 1; lanes--) {
    const evenly = microBatchSize % lanes === 0 && lanes % threads === 0;
    if (evenly && (microBatchSize / lanes) * sequenceLength >= FEWEST_TOKENS) return lanes;
  }
  return 1;
}
