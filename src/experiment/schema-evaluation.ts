// Of the experiment file: the sections `evaluation` and `checkpoint`, what happens every so many steps.

import * as Type from '@sinclair/typebox';

import { choice, prose, section, withDefault } from './schema-kit';

export const evaluation = section(
  {
    everySteps: withDefault(
      Type.Integer({
        minimum: 0,
        ...prose({ description: 'Validate after so many steps; 0: only at the start and the end.', unit: 'steps' }),
      }),
      50,
    ),
    maxBatches: withDefault(
      Type.Union(
        [Type.Integer({ minimum: 1 }), Type.Null()],
        prose({ description: 'Micro-batches of validation data that are measured; null: all.', unit: 'micro-batches' }),
      ),
      64,
    ),
    kinds: withDefault(
      Type.Array(
        choice(
          {
            validation: 'Perplexity on data.validation, in sequences of data.sequenceLength.',
            wikitext:
              'The WikiText protocol on evaluation.wikitext.files: lines joined, blocks of equal length, every block on its own.',
          },
          { description: 'A kind of measurement.' },
        ),
        { uniqueItems: true, ...prose({ description: 'What is measured.' }) },
      ),
      ['validation'],
    ),
    wikitext: section(
      {
        files: withDefault(
          Type.Array(
            Type.String({ minLength: 1 }),
            prose({
              description:
                'The raw test split of WikiText-2 (or another text measured the same way): .txt, .jsonl or .parquet. Needed when kinds contains "wikitext".',
            }),
          ),
          [],
        ),
        sequenceLength: withDefault(
          Type.Integer({
            minimum: 2,
            maximum: 1_048_576,
            ...prose({ description: 'Tokens of a block; published numbers use 2048.', unit: 'tokens' }),
          }),
          2048,
        ),
      },
      { description: 'Text and block length of the "wikitext" kind.' },
    ),
  },
  { description: 'When and on what perplexity is measured.' },
);

export const checkpoint = section(
  {
    everySteps: withDefault(
      Type.Integer({
        minimum: 0,
        ...prose({ description: 'Save after so many steps; 0: only when the run ends or is stopped.', unit: 'steps' }),
      }),
      100,
    ),
    keep: withDefault(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        ...prose({
          description: 'Checkpoints kept on disk; the best by validation perplexity is kept beside them.',
          unit: 'checkpoints',
        }),
      }),
      3,
    ),
  },
  { description: 'When a run saves what it needs to resume.' },
);
