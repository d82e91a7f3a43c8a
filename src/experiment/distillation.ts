// Distillation: what of the float model is kept, and how much that is (native/core/backend.h, distillationLoss).

import type { DistillationConfig } from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';
import type { Experiment } from './schema';
import { isTrained } from './start';

/** null: training follows the text alone, or there is none. */
export function distillationOf(experiment: Pick<Experiment, 'quantization' | 'training'>): DistillationConfig | null {
  const { distillation } = experiment.training;
  return isTrained(experiment) && distillation.weight > 0 ? distillation : null;
}

/** Beginning of the SHA-256 of a sequence in the teacher's file. */
export const TEACHER_CHECKSUM_BYTES = 8;

/** Bytes of a token id on disk. */
export function teacherIdBytes(vocabSize: number): 2 | 4 {
  return vocabSize <= 2 ** 16 ? 2 : 4;
}

/** Bytes of one sequence in the teacher's file: the logarithms, float32, then the ids, then a checksum. */
export function teacherRecordBytes(topK: number, sequenceLength: number, vocabSize: number): number {
  return sequenceLength * (topK * teacherIdBytes(vocabSize) + (topK + 1) * 4) + TEACHER_CHECKSUM_BYTES;
}

/** Sequences whose teacher is kept: those that training sees, or all there are where it sees each at least once. */
export function teacherSequences(
  { steps, batchSize }: Pick<Experiment['training'], 'steps' | 'batchSize'>,
  available: number = Number.POSITIVE_INFINITY,
): number {
  return Math.min(steps * batchSize, available);
}

/** Bytes of the teacher's file; with `available` sequences unknown, the most that it can be. 0 without distillation. */
export function teacherBytes(experiment: Experiment, shape: ModelShape, available?: number): number {
  const distillation = distillationOf(experiment);
  if (distillation === null) return 0;
  const record = teacherRecordBytes(distillation.topK, experiment.data.sequenceLength, shape.vocabSize);
  return teacherSequences(experiment.training, available) * record;
}
