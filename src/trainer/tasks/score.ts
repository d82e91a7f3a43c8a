// From log-likelihoods to accuracies, as lm-evaluation-harness 0.4 defines them.

import { TASKS, type Question, type TaskName } from './definitions';

export interface Accuracy {
  readonly value: number;
  /** Standard error of the mean over the questions; null for a single one. */
  readonly standardError: number | null;
}

export interface TaskScore {
  readonly task: TaskName;
  readonly questions: number;
  /** The most likely choice is right. */
  readonly acc: Accuracy;
  /** The choice with the highest log-likelihood a character is right; null where the harness has no such metric. */
  readonly accNorm: Accuracy | null;
}

/** @param logLikelihoods Σ log p of each choice's continuation, nats, by question */
export function scoreTask(
  task: TaskName,
  questions: readonly Question[],
  logLikelihoods: readonly (readonly number[])[],
): TaskScore {
  let right = 0;
  let rightNormed = 0;
  for (const [i, { choices, gold }] of questions.entries()) {
    const sums = logLikelihoods[i] ?? [];
    if (indexOfLargest(sums) === gold) right++;
    const normed = sums.map((sum, choice) => sum / lengthOf(choices[choice]?.continuation ?? ''));
    if (indexOfLargest(normed) === gold) rightNormed++;
  }
  const count = questions.length;
  const accNorm = TASKS[task].metric === 'accNorm' ? accuracy(rightNormed, count) : null;
  return { task, questions: count, acc: accuracy(right, count), accNorm };
}

/** The metric that the paper averages. */
export const headline = ({ acc, accNorm }: TaskScore): Accuracy => accNorm ?? acc;

/** Mean of the tasks' headlines, with the standard error of a mean of independent numbers; null where there is nothing to average. */
export function averageScore(scores: readonly TaskScore[]): Accuracy | null {
  if (scores.length < 2) return null;
  let sum = 0;
  let variance: number | null = 0;
  for (const score of scores) {
    const { value, standardError } = headline(score);
    sum += value;
    variance = variance === null || standardError === null ? null : variance + standardError ** 2;
  }
  return { value: sum / scores.length, standardError: variance === null ? null : Math.sqrt(variance) / scores.length };
}

/** Characters (code points, as Python counts) of the choice itself, without the blank before it. */
const lengthOf = (continuation: string): number =>
  Array.from(continuation).length - (continuation.startsWith(' ') ? 1 : 0);

/** The first of equals; −1 where one is not a number, which no answer is. */
function indexOfLargest(values: readonly number[]): number {
  if (values.some(Number.isNaN)) return -1;
  return values.indexOf(Math.max(...values));
}

/** Sample standard deviation (n − 1) over √n. */
function accuracy(right: number, count: number): Accuracy {
  const value = right / count;
  return { value, standardError: count > 1 ? Math.sqrt((value * (1 - value)) / (count - 1)) : null };
}
