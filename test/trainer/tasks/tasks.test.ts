// Zero-shot tasks: texts, ids, packing and scores, and the whole on the sample model.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Engine } from '../../../native/binding/addon';
import { openTokenizer, type TextTokenizer } from '../../../src/formats';
import { openSubject, type Subject } from '../../../src/trainer/evaluation-subject';
import { TASK_NAMES, TASKS, type TaskName } from '../../../src/trainer/tasks/definitions';
import { evaluateTasks, logLikelihoods } from '../../../src/trainer/tasks/evaluate-tasks';
import { packRequests } from '../../../src/trainer/tasks/pack';
import { readQuestions } from '../../../src/trainer/tasks/read-questions';
import { scoreRequest, type ScoreRequest } from '../../../src/trainer/tasks/requests';
import { averageScore, scoreTask } from '../../../src/trainer/tasks/score';
import { sharedFolder } from '../sample-run';

const MODEL = 'samples/first-run/model';
const folder = sharedFolder();
const NAMELESS = { name: 'question 1', addBos: false, maxLength: 512 };

async function questionsOf(task: TaskName, ...rows: unknown[]): ReturnType<typeof readQuestions> {
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${task}.jsonl`);
  writeFileSync(file, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join('\n'));
  return readQuestions(task, file, null);
}

describe('texts of a question', () => {
  const after = (context: string, ...choices: string[]): { context: string; continuation: string }[] =>
    choices.map((choice) => ({ context, continuation: ` ${choice}` }));

  test('ARC: choices by their labels', async () => {
    const own = {
      question: 'What is hot?',
      choices: { text: ['ice', 'fire', 'snow'], label: ['A', 'B', 'C'] },
      answerKey: 'B',
    };
    const written = { query: 'Question: What is hot?', choices: ['ice', 'fire', 'snow'], gold: 1 };
    for (const task of ['arc-easy', 'arc-challenge'] as const) {
      const [first, second] = await questionsOf(task, own, written);
      assert.deepEqual(first, { choices: after('Question: What is hot?\nAnswer:', 'ice', 'fire', 'snow'), gold: 1 });
      assert.deepEqual(second, first);
    }
  });

  test('PIQA, BoolQ', async () => {
    const piqa = await questionsOf(
      'piqa',
      { goal: 'dry', sol1: 'towel', sol2: 'water', label: 0 },
      { query: 'Question: dry\n', choices: ['towel', 'water'], gold: 0 },
    );
    assert.deepEqual(piqa[0], { choices: after('Question: dry\nAnswer:', 'towel', 'water'), gold: 0 });
    assert.deepEqual(piqa[1], piqa[0]);
    const boolq = await questionsOf(
      'boolq',
      { passage: 'It rains.', question: 'is it wet', answer: true },
      { passage: 'It rains.', question: 'is it wet', label: '1' },
      { query: 'Passage: It rains.\nQuestion: is it wet?', choices: ['no', 'yes'], gold: 1 },
    );
    assert.deepEqual(boolq[0], { choices: after('It rains.\nQuestion: is it wet?\nAnswer:', 'no', 'yes'), gold: 1 });
    assert.deepEqual(boolq.slice(1), [boolq[0], boolq[0]]);
  });

  test('WinoGrande: contexts differ, the continuation is scored', async () => {
    const [own, written] = await questionsOf(
      'winogrande',
      { sentence: 'Ann was taller than Bo so _ had to bend.', option1: 'Ann', option2: 'Bo', answer: '1' },
      {
        context_options: ['Ann was taller than Bo so Ann', 'Ann was taller than Bo so Bo'],
        continuation: 'had to bend.',
        gold: 0,
      },
    );
    assert.deepEqual(own, {
      choices: [
        { context: 'Ann was taller than Bo so Ann', continuation: ' had to bend.' },
        { context: 'Ann was taller than Bo so Bo', continuation: ' had to bend.' },
      ],
      gold: 0,
    });
    assert.deepEqual(written, own);
  });

  test('HellaSwag: markup goes, the activity stands in front', async () => {
    const endings = ['[substeps] Mix  well.', 'Pour [title] Serve'];
    const [own, bare] = await questionsOf(
      'hellaswag',
      { activity_label: 'Baking', ctx_a: '[header] How to bake', ctx_b: 'the COOK', endings, label: '1' },
      { ctx: '[header] How to bake [title] Start.', endings, label: 1 },
    );
    // The harness's own replacements leave a blank where markup stood in front.
    const choices = ['Mix well.', 'Pour. Serve'];
    assert.equal(own?.gold, 1);
    assert.deepEqual(own.choices, after('Baking: How to bake The cook', ' Mix well.', 'Pour. Serve'));
    assert.equal(bare?.choices[0]?.context, ' How to bake. Start.');
    assert.equal(bare.choices[1]?.continuation, ` ${choices[1] ?? ''}`);
  });

  test('a row ends with a line feed, whatever line ends are in its strings', async () => {
    const row = { goal: 'One\u2028two\u0085', sol1: 'a\u2029b', sol2: 'c', label: 0 };
    const questions = await questionsOf('piqa', row, { ...row, label: '1' });
    assert.deepEqual(questions[0]?.choices, after(`Question: ${row.goal}\nAnswer:`, 'a\u2029b', 'c'));
    assert.equal(questions[1]?.gold, 1);
  });

  test('what is no row of the task is said with its place', async () => {
    for (const task of TASK_NAMES) {
      await assert.rejects(questionsOf(task, {}), (error: Error & { code: string; hint: string }) => {
        assert.equal(error.code, 'TaskFile');
        assert.match(error.message, new RegExp(`${task}\\.jsonl:1: not a row of ${TASKS[task].title}`));
        assert.match(error.hint, /fields \w+/);
        return true;
      });
    }
    const good = { query: 'q', choices: ['a', 'b'], gold: 1 };
    await assert.rejects(questionsOf('piqa', good, { ...good, gold: 2 }), /piqa\.jsonl:3: not a row/);
    await assert.rejects(questionsOf('piqa', '{"query": '), { code: 'TaskFile', message: /piqa\.jsonl:1: / });
    await assert.rejects(questionsOf('piqa'), /no questions/);
    await assert.rejects(readQuestions('piqa', path.join(folder, 'absent.jsonl'), null), /absent\.jsonl.*ENOENT/);
    const file = path.join(folder, 'many.jsonl');
    writeFileSync(file, `${JSON.stringify(good)}\n`.repeat(9));
    assert.equal((await readQuestions('piqa', file, 4)).length, 4);
  });
});

describe('ids of a question', () => {
  let tokenizer: TextTokenizer;
  before(async () => {
    tokenizer = await openTokenizer(MODEL);
  });
  const ids = (text: string): number[] => [...tokenizer.encode(text, { addSpecialTokens: false })];

  test('the whole text is read but its last id; what follows the context is scored', () => {
    const { tokens, targets } = scoreRequest(tokenizer, { context: 'Once upon', continuation: ' a time' }, NAMELESS);
    const whole = ids('Once upon a time');
    assert.deepEqual([...tokens], whole.slice(0, -1));
    assert.deepEqual([...targets], whole.slice(ids('Once upon').length));
  });

  test('blanks at the end of the context belong to the continuation', () => {
    const moved = scoreRequest(tokenizer, { context: 'Once upon ', continuation: 'a time' }, NAMELESS);
    const plain = scoreRequest(tokenizer, { context: 'Once upon', continuation: ' a time' }, NAMELESS);
    assert.deepEqual(moved, plain);
  });

  test('bos goes in front where it is wanted, and where nothing else is', () => {
    const choice = { context: 'Once', continuation: ' more' };
    const bare = scoreRequest(tokenizer, choice, NAMELESS);
    const first = tokenizer.bosId ?? tokenizer.eosId;
    const withBos = scoreRequest(tokenizer, choice, { ...NAMELESS, addBos: true });
    assert.deepEqual([...withBos.tokens], [first, ...bare.tokens]);
    assert.deepEqual(withBos.targets, bare.targets);
    const empty = scoreRequest(tokenizer, { context: '', continuation: ' more' }, NAMELESS);
    assert.deepEqual([...empty.targets], ids(' more'));
    assert.equal(empty.tokens[0], first);
    const none = { ...tokenizer, encode: tokenizer.encode.bind(tokenizer), bosId: null, eosId: null };
    assert.throws(() => scoreRequest(none, { context: '', continuation: ' more' }, NAMELESS), { code: 'ContextEmpty' });
  });

  test('a long context loses its beginning, a long answer is refused', () => {
    const choice = { context: 'one two three four five six seven', continuation: ' eight' };
    const full = scoreRequest(tokenizer, choice, NAMELESS);
    const cut = scoreRequest(tokenizer, choice, { ...NAMELESS, maxLength: full.targets.length + 2 });
    assert.equal(cut.tokens.length, full.targets.length + 2);
    assert.deepEqual([...cut.tokens], [...full.tokens].slice(-cut.tokens.length));
    assert.deepEqual(cut.targets, full.targets);
    assert.throws(
      () => scoreRequest(tokenizer, { ...choice, continuation: ' eight'.repeat(9) }, { ...NAMELESS, maxLength: 8 }),
      {
        code: 'ContinuationTooLong',
        message: /^question 1: an answer has \d+ tokens, the model reads 8$/,
      },
    );
  });
});

describe('packing', () => {
  const request = (length: number, scored: number): ScoreRequest => ({
    tokens: Int32Array.from({ length }, (_, i) => length * 100 + i),
    targets: Int32Array.from({ length: scored }, (_, i) => length * 1000 + i),
  });

  test('every request is placed once, whole, and sees only itself', () => {
    const lengths = [3, 7, 16, 1, 5, 5, 9, 2, 2, 2, 12, 4];
    const requests = lengths.map((length) => request(length, Math.min(2, length)));
    const batches = packRequests(requests, 16, 2);
    const seen = new Set<number>();
    for (const { batch, placed } of batches) {
      assert.ok(batch.tokens.length % 16 === 0 && batch.tokens.length <= 32);
      const scored = new Set<number>();
      for (const { request: index, begin, end } of placed) {
        assert.ok(!seen.has(index));
        seen.add(index);
        const { tokens, targets } = requests[index]!;
        const start = end - tokens.length;
        assert.deepEqual(batch.tokens.slice(start, end), tokens);
        assert.deepEqual(batch.targets.slice(begin, end), targets);
        for (let position = start; position < end; position++) {
          assert.equal(batch.firstKey?.[position], start % 16);
          if (position >= begin) scored.add(position);
        }
      }
      for (const [position, target] of batch.targets.entries()) assert.equal(target !== -1, scored.has(position));
    }
    assert.equal(seen.size, lengths.length);
    // 68 tokens in rows of 16.
    assert.equal(
      batches.reduce((rows, { batch }) => rows + batch.tokens.length / 16, 0),
      5,
    );
  });

  test('what a family begins with is there once; branches hide each other and nothing else', () => {
    const beginning = [1, 2, 3, 4, 5];
    const of = (rest: number[], scored: number): ScoreRequest => ({
      tokens: Int32Array.from([...beginning, ...rest]),
      targets: Int32Array.from({ length: scored }, (_, i) => 900 + rest.length * 10 + i),
    });
    // Nothing is scored at a shared position: of the last request's six tokens two are scored, four may be shared.
    const requests = [of([6, 7], 2), of([6, 8, 9], 1), of([6], 2), request(3, 1)];
    const [packed, ...others] = packRequests(requests, 16, 1, [[0, 1, 2], [3]]);
    assert.ok(packed !== undefined && others.length === 0);
    const { tokens, firstKey, hidden, targets } = packed.batch;
    assert.deepEqual([...tokens], [1, 2, 3, 4, 5, 6, 7, 5, 6, 8, 9, 5, 6, 300, 301, 302]);
    assert.deepEqual([...(firstKey ?? [])], [...Array<number>(13).fill(0), 13, 13, 13]);
    assert.deepEqual([...(hidden?.from ?? [])], [...Array<number>(7).fill(0), 4, 4, 4, 4, 4, 4, 0, 0, 0]);
    assert.deepEqual([...(hidden?.to ?? [])], [...Array<number>(7).fill(0), 7, 7, 7, 7, 11, 11, 0, 0, 0]);
    for (const { request: index, begin, end } of packed.placed)
      assert.deepEqual(targets.slice(begin, end), requests[index]!.targets);
    assert.equal(targets.filter((target) => target !== -1).length, 6);
  });

  test('a family that no row holds is divided, each part with its beginning', () => {
    const of = (i: number): ScoreRequest => ({
      tokens: Int32Array.from([1, 2, 3, 4, 10 + i, 20 + i, 30 + i]),
      targets: Int32Array.from([5, 6, 7]),
    });
    const requests = [0, 1, 2].map(of);
    const batches = packRequests(requests, 10, 1, [[0, 1, 2]]);
    assert.deepEqual(
      batches.map(({ batch }) => [...batch.tokens.slice(0, 10)]),
      [
        [1, 2, 3, 4, 10, 20, 30, 11, 21, 31],
        [1, 2, 3, 4, 12, 22, 32, 0, 0, 0],
      ],
    );
    assert.equal(batches.flatMap(({ placed }) => placed).length, 3);
  });

  test('thousands of rows that are nearly full', () => {
    const requests = Array.from({ length: 5000 }, (_, i) => request(9 + (i % 3), 1));
    const batches = packRequests(requests, 16, 4);
    assert.equal(batches.flatMap(({ placed }) => placed).length, 5000);
  });
});

describe('scores', () => {
  const choices = [
    { context: 'c', continuation: ' ab' },
    { context: 'c', continuation: ' abcdefgh' },
  ];

  test('accuracy, by character too, with the standard error of a sample', () => {
    const questions = [0, 1, 1, 0].map((gold) => ({ choices, gold }));
    // By character −2 against −1.25, then −1 against −2.5; the fourth is no number.
    const sums = [
      [-4, -10],
      [-4, -10],
      [-2, -20],
      [Number.NaN, -1],
    ];
    const { acc, accNorm, questions: count } = scoreTask('piqa', questions, sums);
    assert.equal(count, 4);
    assert.equal(acc.value, 0.25);
    assert.equal(accNorm?.value, 0.25);
    // √(Σ (x − mean)² / (n − 1) / n) of 1, 0, 0, 0.
    assert.ok(Math.abs((acc.standardError ?? 0) - 0.25) < 1e-12);
    assert.equal(scoreTask('winogrande', questions, sums).accNorm, null);
    assert.equal(scoreTask('piqa', questions.slice(0, 1), sums).acc.standardError, null);
  });

  test('the average takes acc_norm where there is one', () => {
    const score = (value: number, normed: number | null): Parameters<typeof averageScore>[0][number] => ({
      task: 'piqa',
      questions: 10,
      acc: { value, standardError: 0.3 },
      accNorm: normed === null ? null : { value: normed, standardError: 0.4 },
    });
    const average = averageScore([score(0.5, null), score(0.1, 0.7)]);
    assert.ok(Math.abs((average?.value ?? 0) - 0.6) < 1e-12);
    assert.ok(Math.abs((average?.standardError ?? 0) - 0.25) < 1e-12);
    assert.equal(averageScore([score(0.5, null)]), null);
  });
});

describe('on the sample model', () => {
  let subject: Subject;
  let engine: Engine;
  let close: () => void = () => undefined;
  let closed: Promise<void>;
  before(async () => {
    subject = await openSubject({ model: MODEL, compute: 'float32', threads: 2, device: 'cpu' });
    await new Promise<void>((resolve, reject) => {
      closed = subject
        .withEngine({ sequenceLength: 64, microBatchSize: 3 }, async (opened) => {
          engine = opened;
          resolve();
          await new Promise<void>((done) => (close = done));
        })
        .catch(reject);
    });
  });
  after(async () => {
    close();
    await closed;
  });

  const QUESTIONS = [
    { query: 'Question: What did Tom see in the garden?', choices: ['a big red ball', 'seven', 'nothing'], gold: 0 },
    { query: 'Question: Who was happy?', choices: ['the little girl', 'of and'], gold: 0 },
    { query: 'Question: Why?', choices: ['because', 'the'], gold: 1 },
  ];

  test('likelihoods in packed rows are those of each text alone', async () => {
    const questions = await questionsOf('arc-easy', ...QUESTIONS);
    const requests = questions.flatMap(({ choices }) =>
      choices.map((choice) => scoreRequest(subject.tokenizer, choice, { ...NAMELESS, maxLength: 64 })),
    );
    const sums = await logLikelihoods(engine, 'float', requests, packRequests(requests, 64, 3), () => undefined);
    const families = [
      [0, 1, 2],
      [3, 4],
      [5, 6],
    ];
    const together = packRequests(requests, 64, 3, families);
    assert.ok(together.some(({ batch }) => batch.hidden !== undefined));
    const shared = await logLikelihoods(engine, 'float', requests, together, () => undefined);
    const vocabulary = subject.model.shape.vocabSize;
    for (const [index, { tokens, targets }] of requests.entries()) {
      const padded = new Int32Array(64);
      padded.set(tokens);
      const logits = await engine.logits({ tokens: padded, targets: new Int32Array(64).fill(-1) }, 'float');
      let sum = 0;
      for (const [i, target] of targets.entries()) {
        const position = tokens.length - targets.length + i;
        const row = Array.from(logits.subarray(position * vocabulary, (position + 1) * vocabulary));
        const top = Math.max(...row);
        sum += row[target]! - top - Math.log(row.reduce((all, logit) => all + Math.exp(logit - top), 0));
      }
      // Rotary angles of other positions: float32 rounding of logits near 20.
      for (const own of [sums[index]!, shared[index]!])
        assert.ok(Math.abs(own - sum) < 1e-4 * targets.length, `${String(own)} for ${String(sum)}`);
    }
  });

  test('hidden keys are checked', async () => {
    const tokens = new Int32Array(64).fill(5);
    const zeros = new Int32Array(64);
    const of = (from: number, to: number) => ({ from: zeros.with(20, from), to: zeros.with(20, to) });
    const losses = (hidden: { from: Int32Array; to: Int32Array }) =>
      engine.tokenLosses({ tokens, targets: zeros, hidden }, 'float');
    assert.equal((await losses(of(3, 9))).length, 64);
    for (const [from, to] of [
      [9, 3],
      [-1, 3],
      [3, 21],
    ] as const)
      await assert.rejects(losses(of(from, to)), /hidden keys must lie between/);
    await assert.rejects(losses({ from: zeros, to: zeros.subarray(1) }), /as many elements as tokens/);
  });

  test('evaluateTasks: the scores of those likelihoods', async () => {
    const questions = await questionsOf('arc-easy', ...QUESTIONS);
    const file = path.join(folder, 'arc-easy.jsonl');
    const seen = new Set<string>();
    const { forms, step } = await evaluateTasks({
      model: MODEL,
      compute: 'float32',
      threads: 2,
      device: 'cpu',
      sequenceLength: 64,
      tasks: [
        { task: 'arc-easy', file },
        { task: 'arc-challenge', file },
      ],
      onProgress: ({ phase }) => seen.add(phase),
    });
    const requests = questions.flatMap(({ choices }) =>
      choices.map((choice) => scoreRequest(subject.tokenizer, choice, { ...NAMELESS, maxLength: 64 })),
    );
    const sums = await logLikelihoods(engine, 'float', requests, packRequests(requests, 64, 3), () => undefined);
    const expected = scoreTask('arc-easy', questions, [
      [...sums.subarray(0, 3)],
      [...sums.subarray(3, 5)],
      [...sums.subarray(5)],
    ]);
    assert.equal(step, null);
    assert.equal(forms.length, 1);
    assert.deepEqual(forms[0]?.tasks, [expected, { ...expected, task: 'arc-challenge' }]);
    assert.equal(forms[0].average?.value, expected.accNorm?.value);
    assert.ok(seen.has('evaluating: float'));
  });

  test('a task given twice, a length beyond the model, an interruption', async () => {
    await questionsOf('piqa', QUESTIONS[0]);
    const tasks = [{ task: 'piqa', file: path.join(folder, 'piqa.jsonl') }] as const;
    await assert.rejects(evaluateTasks({ model: MODEL, tasks: [...tasks, ...tasks] }), { code: 'TaskTwice' });
    await assert.rejects(evaluateTasks({ model: MODEL, tasks, sequenceLength: 1e6 }), { code: 'SequenceTooLong' });
    await assert.rejects(evaluateTasks({ model: MODEL, tasks, signal: AbortSignal.abort() }), { name: 'AbortError' });
  });
});
