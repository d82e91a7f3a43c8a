// Zero-shot accuracies of a model folder or of a run: `lrqat evaluate --task`.

import type { ComputeType, Engine, WeightForm } from '../../../native/binding/addon';
import { UserError } from '../../errors';
import { microBatchFor, requirePositions } from '../evaluate';
import { openSubject, type SubjectOf, type SubjectOptions } from '../evaluation-subject';
import { TASKS, type Question, type TaskName } from './definitions';
import { packRequests, type PackedBatch } from './pack';
import { readQuestions } from './read-questions';
import { scoreRequest, type ScoreRequest } from './requests';
import { averageScore, scoreTask, type Accuracy, type TaskScore } from './score';

export type TaskOptions = SubjectOf &
  SubjectOptions & {
    readonly tasks: readonly { readonly task: TaskName; readonly file: string }[];
    /** Questions of each task at most; default: all. */
    readonly limit?: number;
    /** Put bos_token before every question: the harness's add_bos_token, which was false by default when the paper was written. */
    readonly addBos?: boolean;
    /** Positions to use; default: all that the model has. */
    readonly sequenceLength?: number;
    /** What the scores of a form come from: Σ log p of each choice's continuation, nats, by question. */
    readonly onLikelihoods?: (form: WeightForm, task: TaskName, logLikelihoods: readonly (readonly number[])[]) => void;
  };

export interface ScoredForm {
  readonly form: WeightForm;
  readonly tasks: readonly TaskScore[];
  /** Of acc_norm where a task has it, else acc, as in the paper; null for a single task. */
  readonly average: Accuracy | null;
  readonly seconds: number;
}

export interface TaskEvaluation {
  readonly modelFolder: string;
  /** Step of the checkpoint behind form `trained`; null: none. */
  readonly step: number | null;
  readonly compute: ComputeType;
  readonly threads: number;
  readonly forms: readonly ScoredForm[];
}

/** A row takes several short sequences: long enough to waste little, short enough for small memory. */
const ROW = 512;

/** @throws UserError for what cannot be found or read; AbortError after `signal` */
export async function evaluateTasks(options: TaskOptions): Promise<TaskEvaluation> {
  const { signal, onProgress } = options;
  const sets = await readTasks(options);
  const subject = await openSubject(options);
  const { model, step, compute, threads, tokenizer } = subject;
  const maxLength = options.sequenceLength ?? model.shape.maxPositions;
  requirePositions(maxLength, model.shape.maxPositions);
  const requestOptions = { addBos: options.addBos ?? false, maxLength };
  const requests = sets.flatMap(({ task, questions }) =>
    questions.flatMap(({ choices }, number) => {
      const name = `question ${String(number + 1)} of ${TASKS[task].title}`;
      return choices.map((choice) => scoreRequest(tokenizer, choice, { ...requestOptions, name }));
    }),
  );
  const window = model.shape.slidingWindow;
  // What the engine can do with branches: TokenBatch.hidden.
  const shares = window === null || window >= maxLength;
  const longest = requests.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
  const length = Math.max(longest, Math.min(ROW, maxLength));
  const microBatchSize = microBatchFor(length);
  const batches = packRequests(requests, length, microBatchSize, shares ? familiesOf(sets) : undefined);

  const forms = await subject.withEngine({ sequenceLength: length, microBatchSize }, async (engine) => {
    const results: ScoredForm[] = [];
    for (const form of subject.forms) {
      const begun = performance.now();
      const sums = await logLikelihoods(engine, form, requests, batches, (done) => {
        signal?.throwIfAborted();
        onProgress?.({ phase: `evaluating: ${form}`, done, total: batches.length });
      });
      if (sums.some(Number.isNaN)) throw notFinite(model.folder, form);
      const likelihoods = byQuestion(sets, sums);
      const tasks = sets.map(({ task, questions }, index) => {
        const ofTask = likelihoods[index] ?? [];
        options.onLikelihoods?.(form, task, ofTask);
        return scoreTask(task, questions, ofTask);
      });
      const seconds = (performance.now() - begun) / 1000;
      results.push({ form, tasks, average: averageScore(tasks), seconds });
    }
    return results;
  });
  return { modelFolder: model.folder, step, compute, threads, forms };
}

/** The choices of a question begin alike, as the requests of it lie in their list. */
function familiesOf(sets: readonly QuestionSet[]): number[][] {
  let next = 0;
  return sets.flatMap(({ questions }) => questions.map(({ choices }) => choices.map(() => next++)));
}

/** Choices without a likelihood cannot be ranked. */
function notFinite(folder: string, form: WeightForm): UserError {
  return new UserError('NotFinite', `${folder}: the likelihoods of the model (${form}) are not numbers`, {
    hint: 'The weights hold NaN or overflow: the checkpoint is damaged or was saved from a diverged run.',
  });
}

interface QuestionSet {
  readonly task: TaskName;
  readonly questions: readonly Question[];
}

async function readTasks({ tasks, limit }: TaskOptions): Promise<QuestionSet[]> {
  const sets: QuestionSet[] = [];
  for (const { task, file } of tasks) {
    if (sets.some((other) => other.task === task)) {
      throw new UserError('TaskTwice', `${TASKS[task].title} is given twice`, { hint: 'Give each task one file.' });
    }
    sets.push({ task, questions: await readQuestions(task, file, limit ?? null) });
  }
  return sets;
}

/** Σ log p of the scored tokens of every request, nats. */
export async function logLikelihoods(
  engine: Pick<Engine, 'tokenLosses'>,
  form: WeightForm,
  requests: readonly ScoreRequest[],
  batches: readonly PackedBatch[],
  onBatch: (done: number) => void,
): Promise<Float64Array> {
  const sums = new Float64Array(requests.length);
  for (const [done, { batch, placed }] of batches.entries()) {
    onBatch(done);
    const losses = await engine.tokenLosses(batch, form);
    for (const { request, begin, end } of placed) {
      let sum = 0;
      for (const loss of losses.subarray(begin, end)) sum -= loss;
      sums[request] = sum;
    }
  }
  onBatch(batches.length);
  return sums;
}

/** Hands the sums back to the questions that asked for them, in their order: by task, question and choice. */
function byQuestion(sets: readonly QuestionSet[], sums: Float64Array): number[][][] {
  let next = 0;
  return sets.map(({ questions }) =>
    questions.map(({ choices }) => Array.from(sums.subarray(next, (next += choices.length)))),
  );
}
