// The six zero-shot tasks of the LR-QAT paper: from a row of a JSONL file to the texts whose likelihoods decide.
//
// Texts are put together as lm-evaluation-harness 0.4 does for its tasks piqa, arc_easy, arc_challenge, hellaswag, winogrande and
// boolq. Two layouts of rows are read: the data sets' own fields, and rows in which the question is already written out
// ({"query", "choices", "gold"}, WinoGrande {"context_options", "continuation", "gold"}).

import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { capitalize, strip, stripEnd, withoutBrackets } from './python-text';

export const TASK_NAMES = ['boolq', 'piqa', 'winogrande', 'hellaswag', 'arc-easy', 'arc-challenge'] as const;
export type TaskName = (typeof TASK_NAMES)[number];

/** One question: the likelihood of `continuation` after `context` decides between the choices. */
export interface Question {
  readonly choices: readonly { readonly context: string; readonly continuation: string }[];
  /** Index of the right one. */
  readonly gold: number;
}

export interface Task {
  readonly title: string;
  /** Which metric the paper averages: `acc`, or `acc_norm` (log-likelihood by character of the choice). */
  readonly metric: 'acc' | 'accNorm';
  /** Layouts in which a row may come; the first that a row fits is taken. */
  readonly layouts: readonly Layout[];
}

export interface Layout {
  /** Names of the fields, for messages. */
  readonly fields: string;
  /** null: the row has another layout. */
  question(row: unknown): Question | null;
}

function layout<Row extends TSchema>(row: Row, question: (row: Static<Row>) => Question | null): Layout {
  return {
    fields: Object.keys((row as { properties?: object }).properties ?? {}).join(', '),
    question: (value) => (Value.Check(row, value) ? question(value) : null),
  };
}

/** Every choice after the same context; one blank between, as the harness has it. */
const multipleChoice = (context: string, choices: readonly string[], gold: number): Question | null =>
  gold in choices ? { choices: choices.map((choice) => ({ context, continuation: ` ${choice}` })), gold } : null;

const Index = Type.Integer({ minimum: 0 });
const Texts = Type.Array(Type.String(), { minItems: 2 });
/** Labels come as numbers and as digits. */
const Label = Type.Union([Index, Type.String({ pattern: '^[0-9]+$' })]);

const WRITTEN_OUT = Type.Object({ query: Type.String(), choices: Texts, gold: Index });

/** "Question: …" with the answer to come. */
const writtenOut = layout(WRITTEN_OUT, ({ query, choices, gold }) =>
  multipleChoice(`${stripEnd(query)}\nAnswer:`, choices, gold),
);

const arc = layout(
  Type.Object({
    question: Type.String(),
    choices: Type.Object({ text: Texts, label: Type.Array(Type.String()) }),
    answerKey: Type.String(),
  }),
  ({ question, choices, answerKey }) =>
    multipleChoice(`Question: ${question}\nAnswer:`, choices.text, choices.label.indexOf(answerKey)),
);

const piqa = layout(
  Type.Object({ goal: Type.String(), sol1: Type.String(), sol2: Type.String(), label: Label }),
  ({ goal, sol1, sol2, label }) => multipleChoice(`Question: ${goal}\nAnswer:`, [sol1, sol2], Number(label)),
);

const NO_AND_YES = ['no', 'yes'];

const boolqLayouts = [
  layout(
    Type.Object({ passage: Type.String(), question: Type.String(), answer: Type.Boolean() }),
    ({ passage, question, answer }) =>
      multipleChoice(`${passage}\nQuestion: ${question}?\nAnswer:`, NO_AND_YES, answer ? 1 : 0),
  ),
  layout(
    Type.Object({ passage: Type.String(), question: Type.String(), label: Label }),
    ({ passage, question, label }) =>
      multipleChoice(`${passage}\nQuestion: ${question}?\nAnswer:`, NO_AND_YES, Number(label)),
  ),
  // The harness has no word before the passage.
  layout(WRITTEN_OUT, ({ query, choices, gold }) =>
    multipleChoice(`${stripEnd(query.replace(/^Passage: /, ''))}\nAnswer:`, choices, gold),
  ),
];

/** The harness's clean-up of WikiHow's markup. */
export const withoutMarkup = (text: string): string =>
  withoutBrackets(strip(text).replaceAll(' [title]', '. ')).replaceAll('  ', ' ');

const hellaswagLayouts = [
  layout(
    Type.Object({
      activity_label: Type.String(),
      ctx_a: Type.String(),
      ctx_b: Type.String(),
      endings: Texts,
      label: Label,
    }),
    (row) =>
      multipleChoice(
        withoutMarkup(`${row.activity_label}: ${row.ctx_a} ${capitalize(row.ctx_b)}`),
        row.endings.map(withoutMarkup),
        Number(row.label),
      ),
  ),
  // Without the activity in front, figures are not those of the harness.
  layout(Type.Object({ ctx: Type.String(), endings: Texts, label: Label }), ({ ctx, endings, label }) =>
    multipleChoice(withoutMarkup(ctx), endings.map(withoutMarkup), Number(label)),
  ),
];

const winograndeLayouts = [
  layout(
    Type.Object({
      sentence: Type.String({ pattern: '_' }),
      option1: Type.String(),
      option2: Type.String(),
      answer: Type.String({ pattern: '^[12]$' }),
    }),
    ({ sentence, option1, option2, answer }) => {
      const at = sentence.indexOf('_');
      const continuation = ` ${strip(sentence.slice(at + 1))}`;
      const choices = [option1, option2].map((option) => ({ context: sentence.slice(0, at) + option, continuation }));
      return { choices, gold: Number(answer) - 1 };
    },
  ),
  layout(
    Type.Object({ context_options: Texts, continuation: Type.String(), gold: Index }),
    ({ context_options: contexts, continuation, gold }) =>
      gold in contexts
        ? { choices: contexts.map((context) => ({ context, continuation: ` ${continuation}` })), gold }
        : null,
  ),
];

export const TASKS: Readonly<Record<TaskName, Task>> = {
  boolq: { title: 'BoolQ', metric: 'acc', layouts: boolqLayouts },
  piqa: { title: 'PIQA', metric: 'accNorm', layouts: [piqa, writtenOut] },
  winogrande: { title: 'WinoGrande', metric: 'acc', layouts: winograndeLayouts },
  hellaswag: { title: 'HellaSwag', metric: 'accNorm', layouts: hellaswagLayouts },
  'arc-easy': { title: 'ARC-easy', metric: 'accNorm', layouts: [arc, writtenOut] },
  'arc-challenge': { title: 'ARC-challenge', metric: 'accNorm', layouts: [arc, writtenOut] },
};

export const isTaskName = (name: string): name is TaskName => (TASK_NAMES as readonly string[]).includes(name);
