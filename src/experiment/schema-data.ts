// Of the experiment file: the sections `model` and `data`.

import * as Type from '@sinclair/typebox';

import { choice, prose, requiredSection, withDefault } from './schema-kit';

export const model = requiredSection(
  {
    path: Type.String({
      minLength: 1,
      ...prose({
        description:
          'A Hugging Face folder (config.json, *.safetensors, tokenizer.json) or the hub id of a model that is already in the Hugging Face cache. Relative to this file; ~ and ${workspaceFolder} are resolved.',
      }),
    }),
  },
  { description: 'The pretrained model.' },
);

const corpusFiles = Type.Array(Type.String({ minLength: 1 }), {
  ...prose({
    description:
      'Files or globs: .txt, .jsonl, .parquet, or pre-tokenized .bin with its .json side file. Relative to this file; ~ and ${workspaceFolder} are resolved.',
  }),
});

export const data = requiredSection(
  {
    train: {
      ...corpusFiles,
      minItems: 1,
      ...prose({ description: `Training text. ${corpusFiles.description ?? ''}` }),
    },
    validation: withDefault(
      { ...corpusFiles, ...prose({ description: `Text that is only measured on. ${corpusFiles.description ?? ''}` }) },
      [],
    ),
    field: withDefault(
      Type.String({
        minLength: 1,
        ...prose({ description: 'Field of .jsonl lines and column of .parquet files that holds the text.' }),
      }),
      'text',
    ),
    sequenceLength: withDefault(
      Type.Integer({
        minimum: 2,
        maximum: 1048576,
        ...prose({
          description:
            'Tokens of one training or validation sequence; at most the positions that the model was made for.',
          unit: 'tokens',
        }),
      }),
      1024,
    ),
    packing: withDefault(
      choice(
        {
          join: 'Documents joined by a blank line and cut into blocks; a block may span documents.',
          documents:
            'Each document with its own start and end token, packed into blocks; no attention across documents.',
        },
        { description: 'How documents become sequences.' },
      ),
      'join',
    ),
  },
  { description: 'Text to train and to measure on.' },
);
