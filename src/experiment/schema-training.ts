// Of the experiment file: the section `training`.

import * as Type from '@sinclair/typebox';

import { choice, prose, section, withDefault } from './schema-kit';

/** Of native/core/types.h. */
const MAX_TEACHER_CLASSES = 1024;

const learningRate = (description: string) => Type.Number({ minimum: 0, maximum: 1, ...prose({ description }) });
const groupRate = (description: string, hint?: string) =>
  Type.Union(
    [Type.Number({ minimum: 0, maximum: 1 }), Type.Null()],
    prose({ description, ...(hint === undefined ? {} : { hint }) }),
  );
const fraction = (description: string) => Type.Number({ minimum: 0, maximum: 1, ...prose({ description }) });
const beta = (description: string) => Type.Number({ minimum: 0, exclusiveMaximum: 1, ...prose({ description }) });

export const training = section(
  {
    steps: withDefault(
      Type.Integer({ minimum: 1, maximum: 100_000_000, ...prose({ description: 'Optimiser steps.', unit: 'steps' }) }),
      1000,
    ),
    batchSize: withDefault(
      Type.Integer({
        minimum: 1,
        maximum: 1_048_576,
        ...prose({ description: 'Sequences of one optimiser step.', unit: 'sequences' }),
      }),
      32,
    ),
    microBatchSize: withDefault(
      Type.Integer({
        minimum: 1,
        maximum: 65_536,
        ...prose({
          description:
            'Sequences that go through the model at once; divides batchSize. The result does not depend on it, memory does.',
          unit: 'sequences',
          hint: 'The largest that fits in memory is the fastest.',
        }),
      }),
      4,
    ),
    learningRate: section(
      {
        lowRank: withDefault(learningRate('Peak learning rate of A and B.'), 1e-3),
        scales: withDefault(learningRate('Peak learning rate of the scales.'), 1e-5),
        zeroPoints: withDefault(
          Type.Union(
            [Type.Number({ minimum: 0, maximum: 1 }), Type.Null()],
            prose({
              description:
                'Peak learning rate of the zero points of asymmetric weights, in steps of the grid; null: that of the scales.',
              hint: 'A zero point moves once it is half a step from where it was: rates far below one over the number of steps leave it where it is.',
            }),
          ),
          null,
        ),
        weights: withDefault(learningRate('Peak learning rate of the weights that method "lsq" trains.'), 5e-5),
        norms: withDefault(
          groupRate(
            'Peak learning rate of the weights of all norms, those of query and key heads included; null or 0: they stay as they are.',
          ),
          null,
        ),
        head: withDefault(
          groupRate(
            'Peak learning rate of the output head; null or 0: it stays as it is.',
            'Takes 16 bytes of memory a weight. A head that is tied to the embeddings is trained with them.',
          ),
          null,
        ),
        embeddings: withDefault(
          groupRate(
            'Peak learning rate of the embedding table, and of the head where it is tied to it; null or 0: it stays as it is.',
            'Takes 16 bytes of memory a number of the table.',
          ),
          null,
        ),
      },
      { description: 'Peak learning rates of AdamW.' },
    ),
    schedule: withDefault(
      choice(
        {
          linear: 'Falls in a straight line after the warm-up.',
          cosine: 'Falls along half a cosine after the warm-up.',
          constant: 'Stays at the peak after the warm-up.',
        },
        { description: 'Course of the learning rates after the warm-up.' },
      ),
      'linear',
    ),
    warmupRatio: withDefault(
      fraction('Share of the steps in which the learning rates rise from zero to their peak.'),
      0.1,
    ),
    finalLearningRateRatio: withDefault(fraction('Learning rate at the end as a share of the peak.'), 0),
    beta1: withDefault(beta("AdamW's decay of the first moment."), 0.9),
    beta2: withDefault(beta("AdamW's decay of the second moment."), 0.95),
    epsilon: withDefault(
      Type.Number({
        exclusiveMinimum: 0,
        maximum: 1,
        ...prose({ description: "AdamW's term against division by zero." }),
      }),
      1e-8,
    ),
    weightDecay: withDefault(
      Type.Number({
        minimum: 0,
        maximum: 1,
        ...prose({
          description: 'Decoupled weight decay of all that is trained: A, B or weights, scales and zero points.',
        }),
      }),
      0,
    ),
    gradientClip: withDefault(
      Type.Union(
        [Type.Number({ exclusiveMinimum: 0 }), Type.Null()],
        prose({ description: 'Largest global L2 norm of all trained gradients; null does not clip.' }),
      ),
      1,
    ),
    seed: withDefault(
      Type.Integer({
        minimum: 0,
        maximum: 4_294_967_295,
        ...prose({ description: 'Seed of the order of the data and of the start of B.' }),
      }),
      1000,
    ),
    distillation: section(
      {
        weight: withDefault(
          fraction(
            'Share of the loss that follows the float model: (1 − weight) · cross-entropy + weight · temperature² · divergence. 0: no distillation; 1: the float model alone.',
          ),
          0,
        ),
        topK: withDefault(
          Type.Integer({
            minimum: 1,
            maximum: MAX_TEACHER_CLASSES,
            ...prose({
              description:
                'Likeliest tokens of the float model that are kept apart at each position; all others count as one. They are found once before the first step, in one pass of the float model over the sequences of the training, and lie in the run directory until the run is finished.',
              hint: '64 leave little to the rest; disk space grows in proportion.',
              unit: 'tokens',
            }),
          }),
          64,
        ),
        temperature: withDefault(
          Type.Number({
            minimum: 0.05,
            maximum: 100,
            ...prose({
              description:
                'Logits of both models are divided by it before they are compared: above 1 unlikely tokens count for more.',
              hint: '1 compares the distributions as they are.',
            }),
          }),
          1,
        ),
      },
      {
        description:
          'Training that also follows the float model: the Kullback-Leibler divergence between its distribution of the next token and that of the quantized one. Off by default.',
      },
    ),
    activationCheckpointing: withDefault(
      choice(
        {
          auto: 'Keep the activations of as many of the last blocks as fit in memory, compute the others again.',
          none: 'Keep all activations for the backward: fastest.',
          block:
            "Keep each block's input and compute the block again in the backward: least memory, about a third slower.",
        },
        { description: 'What a micro-batch keeps for its backward.' },
      ),
      'auto',
    ),
  },
  { description: 'Steps, batches and the optimiser.' },
);
