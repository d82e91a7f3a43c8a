// Zero-shot scores against lm-evaluation-harness (harness.py): the texts, the tokens, the likelihoods and what is counted are its own,
// from questions in files. LRQAT_PYTHON names an interpreter that has lm_eval, torch, transformers and datasets; without it nothing runs.
// Numbers are printed: they are the measurement.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { TASK_NAMES, type TaskName } from '../../src/trainer/tasks/definitions';
import { evaluateTasks } from '../../src/trainer/tasks/evaluate-tasks';
import type { Accuracy } from '../../src/trainer/tasks/score';
import { SHARED_DATA } from './support';

const PYTHON = process.env['LRQAT_PYTHON'];
const skip = noHarness();
const EVAL = path.join(SHARED_DATA, 'eval');
const noData = existsSync(EVAL) ? skip : 'the folder ../shared/data with real models and questions is absent';
const SAMPLE = { name: 'sample', folder: path.resolve('samples/first-run/model') };
/** Reads 512 tokens: BoolQ's longest passages lose their beginning. Models that read 256 are too short for some answers of HellaSwag,
 *  which the harness refuses as we do. */
const SHARED_MODELS = [{ name: 'stories260K', folder: path.join(SHARED_DATA, 'models/stories260K') }];

/** Both compute in float32 and sum in other orders: 10⁻⁶ nats a token, and an answer has up to some hundred. */
const TOLERANCE = 1e-3;

let folder: string;
before(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-harness-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function noHarness(): string | false {
  if (PYTHON === undefined) return 'LRQAT_PYTHON names no interpreter';
  const asked =
    'import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ("lm_eval", "accelerate", "datasets")))';
  return spawnSync(PYTHON, ['-c', asked]).status === 0 ? false : 'LRQAT_PYTHON has no lm_eval, accelerate and datasets';
}

interface HarnessScore {
  readonly acc: Accuracy;
  readonly accNorm: Accuracy | null;
  readonly logLikelihoods: readonly (readonly number[])[];
}

interface HarnessAnswer {
  readonly versions: string;
  readonly models: Readonly<Record<string, Readonly<Record<string, HarnessScore>>>>;
}

interface HarnessModel {
  readonly name: string;
  readonly folder: string;
  /** null: what the harness does by itself. */
  readonly addBos: boolean | null;
}

const harnessName = (task: TaskName): string => task.replace('-', '_');

type Files = Readonly<Record<TaskName, string>>;

async function harness(models: readonly HarnessModel[], files: Files): Promise<HarnessAnswer> {
  const request = path.join(folder, 'request.json');
  const tasks = Object.fromEntries(TASK_NAMES.map((task) => [harnessName(task), files[task]]));
  writeFileSync(request, JSON.stringify({ models, tasks }));
  const caches = { HF_HOME: path.join(folder, 'cache'), HF_HUB_OFFLINE: '1', HF_DATASETS_OFFLINE: '1' };
  const { stdout } = await promisify(execFile)(PYTHON ?? '', ['test/clients/harness.py', request], {
    env: { ...process.env, ...caches, PYTHONDONTWRITEBYTECODE: '1' },
    maxBuffer: 1 << 28,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as HarnessAnswer;
}

interface OurScore extends HarnessScore {
  readonly questions: number;
}

async function ours(model: string, addBos: boolean, files: Files): Promise<Map<TaskName, OurScore>> {
  const likelihoods = new Map<TaskName, readonly (readonly number[])[]>();
  const { forms } = await evaluateTasks({
    model,
    tasks: TASK_NAMES.map((task) => ({ task, file: files[task] })),
    addBos,
    forms: ['float'],
    compute: 'float32',
    threads: 2,
    device: 'cpu',
    onLikelihoods: (_form, task, ofTask) => likelihoods.set(task, ofTask),
  });
  const scores = forms[0]?.tasks ?? [];
  return new Map(scores.map((score) => [score.task, { ...score, logLikelihoods: likelihoods.get(score.task) ?? [] }]));
}

/** @returns the largest difference of a log-likelihood, nats */
function compare(name: string, score: OurScore, theirs: HarnessScore): number {
  assert.equal(score.logLikelihoods.length, theirs.logLikelihoods.length, name);
  let largest = 0;
  for (const [question, sums] of score.logLikelihoods.entries()) {
    const others = theirs.logLikelihoods[question] ?? [];
    assert.equal(sums.length, others.length, name);
    for (const [choice, sum] of sums.entries()) largest = Math.max(largest, Math.abs(sum - (others[choice] ?? NaN)));
  }
  assert.ok(largest < TOLERANCE, `${name}: log-likelihoods differ by ${String(largest)}`);
  assert.equal(score.acc.value, theirs.acc.value, `${name}: acc`);
  assert.equal(score.accNorm?.value, theirs.accNorm?.value, `${name}: acc_norm`);
  for (const [mine, other] of [
    [score.acc, theirs.acc],
    [score.accNorm, theirs.accNorm],
  ] as const) {
    const error = Math.abs((mine?.standardError ?? 0) - (other?.standardError ?? 0));
    assert.ok(error < 1e-12, `${name}: standard error`);
  }
  return largest;
}

interface Compared {
  readonly models: readonly { readonly name: string; readonly folder: string }[];
  /** Of each task: what we read, and the same questions in the fields of the data set. */
  readonly files: Files;
  readonly fields: Files;
}

async function compareAll({ models, files, fields }: Compared, print: (line: string) => void): Promise<void> {
  const both = models.flatMap((model) =>
    [false, true].map((addBos) => ({ ...model, name: `${model.name}, ${addBos ? 'bos' : 'no bos'}`, addBos })),
  );
  const answer = await harness(both, fields);
  print(answer.versions);
  for (const { name, folder: model, addBos } of both) {
    const scores = await ours(model, addBos, files);
    for (const [task, score] of scores) {
      const theirs = answer.models[name]?.[harnessName(task)];
      assert.ok(theirs !== undefined, task);
      const difference = compare(`${name}: ${task}`, score, theirs);
      const shown = [score.acc, score.accNorm].map((accuracy) => accuracy?.value.toFixed(3) ?? '–').join(', ');
      print(
        `${name}: ${task}, ${String(score.questions)} questions: acc, acc_norm ${shown}; ${difference.toExponential(1)} nats`,
      );
    }
    assert.equal(scores.size, TASK_NAMES.length);
  }
}

const filesOf = (file: (task: TaskName) => string): Files =>
  Object.fromEntries(TASK_NAMES.map((task) => [task, file(task)])) as Record<TaskName, string>;

test('ten questions of each task, in the fields of the data sets, as the harness scores them', { skip }, async (t) => {
  const files = filesOf((task) => path.resolve('test/clients/zero-shot', `${task}.jsonl`));
  await compareAll({ models: [SAMPLE], files, fields: files }, (line) => t.diagnostic(line));
});

test('left to itself the harness does what the tokenizer does with bos_token', { skip }, async () => {
  const files = filesOf((task) => path.resolve('test/clients/zero-shot', `${task}.jsonl`));
  const modes = [null, true].map((addBos) => ({ ...SAMPLE, name: String(addBos), addBos }));
  const { models } = await harness(modes, files);
  // The sample's tokenizer.json puts it.
  assert.ok(models['null'] !== undefined);
  assert.deepEqual(models['null'], models['true']);
});

/** Rows as they lie in ../shared/data/eval. */
interface WrittenOut {
  readonly query: string;
  readonly choices: readonly string[];
  readonly gold: number;
  readonly context_options: readonly string[];
  readonly continuation: string;
}

const question = (query: string): string => query.replace(/^Question: /, '').trimEnd();

const arcFields = ({ query, choices, gold }: WrittenOut): object => {
  const label = choices.map((_, index) => String(index + 1));
  return { question: question(query), choices: { text: choices, label }, answerKey: String(gold + 1) };
};

/** Back to the fields of the data set, from which the harness writes its prompts. */
const FIELDS: Readonly<Record<TaskName, (row: WrittenOut) => object>> = {
  'arc-easy': arcFields,
  'arc-challenge': arcFields,
  piqa: ({ query, choices, gold }) => ({ goal: question(query), sol1: choices[0], sol2: choices[1], label: gold }),
  boolq: ({ query, gold }) => {
    const [, passage, asked] = /^Passage: (.*)\nQuestion: (.*)\?\s*$/s.exec(query) ?? [];
    assert.ok(passage !== undefined && asked !== undefined, query);
    return { passage, question: asked, label: gold };
  },
  winogrande: ({ context_options: [option1, option2], continuation, gold }) => ({
    sentence: `_ ${continuation}`,
    option1,
    option2,
    answer: String(gold + 1),
  }),
  hellaswag: (row) => row,
};

const QUESTIONS = 50;

test(
  `the first ${String(QUESTIONS)} questions of each data set, as the harness scores them`,
  { skip: noData },
  async (t) => {
    const written = (name: string, rows: readonly object[]): string => {
      const file = path.join(folder, name);
      writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'));
      return file;
    };
    const rows = new Map(
      TASK_NAMES.map((task) => {
        const file = task === 'hellaswag' ? 'hellaswag_val_1000' : harnessName(task);
        const lines = readFileSync(path.join(EVAL, `${file}.jsonl`), 'utf8')
          .split('\n')
          .slice(0, QUESTIONS);
        return [task, lines.map((line) => JSON.parse(line) as WrittenOut)];
      }),
    );
    const files = filesOf((task) => written(`${task}.jsonl`, rows.get(task) ?? []));
    const fields = filesOf((task) => written(`${task}-fields.jsonl`, (rows.get(task) ?? []).map(FIELDS[task])));
    await compareAll({ models: [SAMPLE, ...SHARED_MODELS], files, fields }, (line) => t.diagnostic(line));
  },
);
