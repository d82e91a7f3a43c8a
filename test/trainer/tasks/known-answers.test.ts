// All six tasks with a model whose answers are known: with embeddings of zero every token is as likely as any other, so that a choice
// is the likelier the fewer tokens it has, and choices of as many are equally likely: the first is taken.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openModel, openTokenizer } from '../../../src/formats';
import type { TaskName } from '../../../src/trainer/tasks/definitions';
import { evaluateTasks } from '../../../src/trainer/tasks/evaluate-tasks';
import { copyOfModel, poke, temporaryFolder } from '../sample-run';

/** One token, 3 characters; three tokens, 11 characters, more of them a token. */
const SHORT = 'the';
const LONG = 'the the the';

/** Of ten questions the first is right in these: the short choice, "no", option 1. */
const FIRST_IS_RIGHT = [true, false, true, true, false, true, true, true, false, true];

const rows: Readonly<Record<TaskName, (first: boolean, number: string) => object>> = {
  'arc-easy': (first, number) => ({
    question: `Which is ${number}?`,
    choices: { text: [LONG, SHORT], label: ['A', 'B'] },
    answerKey: first ? 'B' : 'A',
  }),
  'arc-challenge': (first, number) => ({
    query: `Question: Which is ${number}?`,
    choices: [SHORT, LONG],
    gold: first ? 0 : 1,
  }),
  piqa: (first, number) => ({ goal: `Count to ${number}`, sol1: SHORT, sol2: LONG, label: first ? 0 : 1 }),
  hellaswag: (first, number) => ({
    ctx: `Tom had ${number} and`,
    endings: [LONG, SHORT, LONG, LONG],
    label: first ? 1 : 0,
  }),
  winogrande: (first, number) => ({
    sentence: `Ann gave Sue ${number} because _ was happy.`,
    option1: 'Ann',
    option2: 'Sue',
    answer: first ? '1' : '2',
  }),
  boolq: (first, number) => ({ passage: `There are ${number}.`, question: 'is it so', answer: !first }),
};

test('ten questions of each task, by a model that finds all tokens equally likely', async (context) => {
  const model = copyOfModel(temporaryFolder(context));
  const { shape } = await openModel(model);
  assert.ok(shape.tiedEmbeddings);
  await poke(model, 'model.embed_tokens.weight', 0, shape.vocabSize * shape.hiddenSize);
  const tokenizer = await openTokenizer(model);
  const tokensOf = (text: string): number => tokenizer.encode(text, { addSpecialTokens: false }).length;
  assert.equal(tokensOf(` ${SHORT}`), 1);
  assert.equal(tokensOf(` ${LONG}`), 3);
  assert.equal(tokensOf(' yes'), tokensOf(' no'));

  const tasks = (Object.keys(rows) as TaskName[]).map((task) => {
    const file = path.join(model, `${task}.jsonl`);
    const lines = FIRST_IS_RIGHT.map((first, i) => JSON.stringify(rows[task](first, String(i))));
    writeFileSync(file, lines.join('\n'));
    return { task, file };
  });
  const { forms } = await evaluateTasks({ model, tasks, compute: 'float32', threads: 2, device: 'cpu' });
  const scores = new Map(forms[0]?.tasks.map(({ task, ...score }) => [task, score]));
  for (const task of Object.keys(rows) as TaskName[]) {
    const score = scores.get(task);
    assert.equal(score?.questions, 10, task);
    assert.equal(score.acc.value, 0.7, task);
    // √(0.7·0.3 / 9)
    assert.ok(Math.abs((score.acc.standardError ?? 0) - 0.152752523) < 1e-8, task);
    const normed = task === 'boolq' || task === 'winogrande' ? undefined : 0.3;
    assert.equal(score.accNorm?.value, normed, task);
  }
});
