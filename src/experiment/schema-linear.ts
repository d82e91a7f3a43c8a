// Of the experiment file: the settings of a quantized linear, which stand in `quantization` for all of them and in
// `quantization.layers` for some.

import * as Type from '@sinclair/typebox';

import { choice, prose } from './schema-kit';

export const rangeMethod = choice(
  {
    minmax: 'The largest absolute value becomes the end of the grid: nothing is cut off.',
    mse: 'Grid search for the least squared error.',
    'lp-2.4': 'Grid search for the least sum of |error|^2.4.',
    'lp-3': 'Grid search for the least sum of |error|^3.',
    'lp-3.5': 'Grid search for the least sum of |error|^3.5.',
    'lp-4': 'Grid search for the least sum of |error|^4; the published choice for 4 bits per channel.',
    'lp-5': 'Grid search for the least sum of |error|^5; close to minmax.',
  },
  {
    description:
      'How the starting scale s0 is found: 100 candidates per scale, the one with the least error norm is kept. Small exponents cut large weights off, large exponents keep them.',
    hint: 'Few bits want a small exponent: try lp-2.4 or mse at 2 bits, lp-3.5 or lp-4 at 4 bits.',
  },
);

export const granularity = Type.Union(
  [
    choice(
      {
        'per-tensor': 'One scale for the whole matrix.',
        'per-channel': 'One scale for each output row.',
      },
      { description: 'One scale a matrix or one an output row.' },
    ),
    Type.Object(
      {
        group: Type.Integer({
          minimum: 1,
          maximum: 65536,
          ...prose({
            description:
              'Consecutive input columns of a row that share a scale; divides the input width of every quantized linear.',
            unit: 'weights',
          }),
        }),
      },
      { additionalProperties: false, ...prose({ description: 'One scale for each group of input columns of a row.' }) },
    ),
  ],
  prose({
    description:
      'What shares one scale: "per-tensor", "per-channel" (an output row), or { "group": 128 } for 128 consecutive input columns of a row. Smaller is more exact, larger to store and slower to train.',
    allowed: '"per-tensor", "per-channel" or { "group": 128 }',
  }),
);

export const symmetric = Type.Boolean(
  prose({
    description:
      'true: the grid reaches equally far on both sides of zero. false: every scale has a zero point, an integer that moves its grid to where the weights lie.',
    hint: 'The published results have zero points at 2 bits, and none at 3 and 4.',
  }),
);

export const scaleDomain = choice(
  {
    linear: 'The scale itself is trained.',
    log: 'The logarithm of the scale is trained; steps are relative, and the scale cannot become negative.',
  },
  { description: 'What the optimiser sees of a scale.' },
);

export const scaleFormat = choice(
  {
    fp32: 'Any float32 number.',
    bf16: 'bfloat16, 8 significant bits: exact in every export format, at most 0.4 % apart.',
    fp16: 'Half precision, 11 significant bits: exact in GGUF and GPTQ.',
  },
  {
    description:
      'Numbers that the scales are kept to, at the start and in every step, while training changes float32 copies of them (straight-through). An export to a format with scales of that type is then exact.',
    hint: 'bf16 for vLLM (compressed-tensors) of a bfloat16 model, fp16 for GGUF and GPTQ.',
  },
);

export const storage = choice(
  {
    fp32: 'Float32: exact and 32 bits a weight.',
    bf16: 'BFloat16, 16 bits a weight.',
    fp16: 'Float16, 16 bits a weight.',
    'fixed-point': 'bits + fractionBits bits a weight; keeps part of what rounding would lose.',
    integer: 'bits bits a weight: the rounded integers themselves; smallest.',
  },
  {
    description: 'How the frozen pretrained weight is kept in memory while it is trained around.',
    hint: 'Fixed-point trains almost as well as fp32; integer needs the least memory.',
  },
);

export const bits = Type.Integer({
  minimum: 2,
  maximum: 8,
  ...prose({
    description:
      'Bits of a quantized weight: integers from −2^(bits−1) to 2^(bits−1) − 1, asymmetric from 0 to 2^bits − 1 less the zero point.',
    unit: 'bits',
  }),
});

export const fractionBits = Type.Union(
  [Type.Integer({ minimum: 0, maximum: 6 }), Type.Null()],
  prose({
    description:
      'Fraction bits of fixed-point storage; null means 8 − bits. bits + fractionBits may be 8 at most. Other storages ignore it.',
    unit: 'bits',
  }),
);

export const encoding = choice(
  {
    auto: 'centred for 1 and 2 fraction bits, reference otherwise.',
    reference: 'Clamp, scale by 2^fractionBits, round half to even: the encoding of the published method.',
    centred: 'Round down and decode to the middle of the step: never flips an integer against round-to-nearest.',
  },
  { description: 'Code of fixed-point storage. Other storages ignore it.' },
);

export const rank = Type.Integer({
  minimum: 0,
  maximum: 65536,
  ...prose({
    description:
      'Rank r of the low-rank term A·B (A: outputs × r, B: r × inputs). 0 trains the scales alone. At most the smaller side of the smallest quantized linear.',
    hint: '32 is the published choice; memory for A and B grows in proportion.',
  }),
});

export const alpha = Type.Number({
  exclusiveMinimum: 0,
  ...prose({ description: 'The low-rank term is scaled by alpha / rank.' }),
});

export const learnScales = Type.Boolean(
  prose({
    description: 'Train the scales as well, at learningRate.scales; false leaves them where the range search put them.',
  }),
);

export const learnZeroPoints = Type.Boolean(
  prose({
    description:
      'Train the zero points of asymmetric weights together with the scales, at learningRate.zeroPoints; false leaves them where the range search put them. Has no effect while learnScales is false.',
    hint: 'Only weights outside of the grid pull at a zero point. With fixed-point and integer storage, whose frozen weights start inside, it hardly moves.',
  }),
);

/** One entry of `quantization.layers`: settings for the linears whose full name matches. */
export const LayerOverrideSchema = Type.Object(
  {
    match: Type.String({
      minLength: 1,
      ...prose({
        description:
          'Full names of linears, with * for any characters: "*.down_proj", "model.layers.0.*". Of several entries that match, the last one that sets a key wins.',
      }),
    }),
    skip: Type.Optional(Type.Boolean(prose({ description: 'true keeps these linears in float.' }))),
    bits: Type.Optional(bits),
    granularity: Type.Optional(granularity),
    range: Type.Optional(rangeMethod),
    scaleDomain: Type.Optional(scaleDomain),
    scaleFormat: Type.Optional(scaleFormat),
    symmetric: Type.Optional(symmetric),
    storage: Type.Optional(storage),
    fractionBits: Type.Optional(fractionBits),
    encoding: Type.Optional(encoding),
    rank: Type.Optional(rank),
    alpha: Type.Optional(alpha),
    learnScales: Type.Optional(learnScales),
    learnZeroPoints: Type.Optional(learnZeroPoints),
  },
  { additionalProperties: false, ...prose({ description: 'Other settings for the linears whose full name matches.' }) },
);
