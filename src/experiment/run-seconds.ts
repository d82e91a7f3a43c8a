// How long a run takes in all. Free of the planner, so that the editor's host can ask without it.

import type { Estimate } from './estimate';

/** Start, float model, training and evaluation, which follow each other; what is not known counts as nothing. */
export function runSeconds({
  startSeconds,
  teacherSeconds,
  trainingSeconds,
  evaluationSeconds,
}: Pick<Estimate, 'startSeconds' | 'teacherSeconds' | 'trainingSeconds' | 'evaluationSeconds'>): number {
  return (startSeconds ?? 0) + teacherSeconds + trainingSeconds + (evaluationSeconds ?? 0);
}
