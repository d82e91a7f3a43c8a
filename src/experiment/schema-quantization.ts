// Of the experiment file: the section `quantization`.

import * as Type from '@sinclair/typebox';

import { activations } from './schema-activations';
import { choice, prose, section, withDefault } from './schema-kit';
import {
  LayerOverrideSchema,
  alpha,
  bits,
  encoding,
  fractionBits,
  granularity,
  learnScales,
  learnZeroPoints,
  rangeMethod,
  rank,
  scaleDomain,
  scaleFormat,
  storage,
  symmetric,
} from './schema-linear';

export const quantization = section(
  {
    method: withDefault(
      choice(
        {
          'lr-qat':
            'Low-rank quantization-aware training: a low-rank term inside the rounding, merged away at the end.',
          lsq: 'Full-model quantization-aware training (LSQ): the weights themselves are trained in float32 with their scales and zero points; lowRank and storage have no effect. Needs 16 bytes a weight.',
          peqa: 'The integers of rounding to nearest stay, only their scales are trained; lowRank, storage and zero points are not.',
          gptq: 'GPTQ: column after column is rounded and the columns to come take up its error, weighed by calibration data; no training.',
          rtn: 'Round to nearest: no training, only measured and written.',
        },
        { description: 'How the integers are found.' },
      ),
      'lr-qat',
    ),
    weights: section(
      {
        bits: withDefault(bits, 4),
        granularity: withDefault(granularity, 'per-channel'),
        range: withDefault(rangeMethod, 'lp-4'),
        scaleDomain: withDefault(scaleDomain, 'linear'),
        scaleFormat: withDefault(scaleFormat, 'fp32'),
        symmetric: withDefault(symmetric, true),
      },
      { description: 'The grid of the quantized weights.' },
    ),
    activations: withDefault(activations, null),
    start: section(
      {
        integers: withDefault(
          choice(
            {
              'round-to-nearest': 'The pretrained weights, rounded to nearest.',
              gptq: 'Weights, integers and scales that GPTQ leaves: training begins where it ends.',
            },
            {
              description:
                'Where training of "lr-qat" and "peqa" begins. GPTQ is computed before the first step, on the CPU.',
              hint: 'Worth most at few bits and for short trainings.',
            },
          ),
          'round-to-nearest',
        ),
        lowRank: withDefault(
          choice(
            {
              zero: 'A is zero, B random: A·B adds nothing at first.',
              svd: 'A·B starts at the leading singular values of what rounding leaves (LoftQ).',
            },
            {
              description:
                'Where A and B of "lr-qat" begin. With "svd", storages with fractions keep what A·B does not carry, and training begins at the integers that it would begin at without.',
              hint: 'Made for storage "integer", which keeps no fractions.',
            },
          ),
          'zero',
        ),
        iterations: withDefault(
          Type.Integer({
            minimum: 1,
            maximum: 100,
            ...prose({
              description:
                'Times that the weights less A·B are rounded and A·B is found from what that leaves; of lowRank "svd".',
              unit: 'iterations',
            }),
          }),
          1,
        ),
      },
      { description: 'What training starts from.' },
    ),
    gptq: section(
      {
        sequences: withDefault(
          Type.Integer({
            minimum: 1,
            maximum: 65_536,
            ...prose({
              description:
                'Calibration sequences of data.sequenceLength tokens: the first ones in the order in which training sees its data, which the seed decides. At most as many as there are.',
              unit: 'sequences',
            }),
          }),
          128,
        ),
        damping: withDefault(
          Type.Number({
            minimum: 0,
            maximum: 1,
            ...prose({
              description: 'Share of the mean diagonal of the Hessian that is added to its diagonal.',
              hint: 'More of it trusts few calibration tokens less.',
            }),
          }),
          0.01,
        ),
        activationOrder: withDefault(
          Type.Boolean(
            prose({
              description:
                'true: columns with the largest inputs are rounded first. Group scales are then those of the pretrained weights; else each is found when its group is reached.',
            }),
          ),
          false,
        ),
      },
      { description: 'How GPTQ rounds, as method and as start; no effect where neither is asked for.' },
    ),
    storage: withDefault(storage, 'fixed-point'),
    fractionBits: withDefault(fractionBits, null),
    encoding: withDefault(encoding, 'auto'),
    lowRank: section(
      { rank: withDefault(rank, 32), alpha: withDefault(alpha, 1) },
      { description: 'The trained low-rank term alpha/rank · A·B.' },
    ),
    lsq: section(
      {
        gradientScaling: withDefault(
          Type.Boolean(
            prose({
              description:
                'Multiply the gradients of scales and zero points by 1/√(qmax · weights a scale), so that they are of the size of the gradients of weights.',
              hint: 'Part of the original LSQ; with AdamW, whose steps do not depend on the size of a gradient, it matters only to gradientClip.',
            }),
          ),
          false,
        ),
      },
      { description: 'Of method "lsq".' },
    ),
    learnScales: withDefault(learnScales, true),
    learnZeroPoints: withDefault(learnZeroPoints, true),
    layers: withDefault(
      Type.Array(LayerOverrideSchema, prose({ description: 'Exceptions for some linears: mixed bits, exclusions.' })),
      [],
    ),
  },
  { description: 'What is quantized, how finely, and what is trained.' },
);
