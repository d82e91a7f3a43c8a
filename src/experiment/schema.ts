// The experiment file, once: static types, the JSON schema shipped to editors, defaults, hovers, messages and the
// reference page docs/experiment-file.md all come from the schemas below.

import type { Static } from '@sinclair/typebox';
import * as Type from '@sinclair/typebox';

import { MAX_TEACHER_CLASSES } from './distillation';
import { choice, prose, requiredSection, section, withDefault, type InputOf } from './schema-kit';

const rangeMethod = choice(
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

const granularity = Type.Union(
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

const symmetric = Type.Boolean(
  prose({
    description:
      'true: the grid reaches equally far on both sides of zero. false: every scale has a zero point, an integer that moves its grid to where the weights lie.',
    hint: 'The published results have zero points at 2 bits, and none at 3 and 4.',
  }),
);

const scaleDomain = choice(
  {
    linear: 'The scale itself is trained.',
    log: 'The logarithm of the scale is trained; steps are relative, and the scale cannot become negative.',
  },
  { description: 'What the optimiser sees of a scale.' },
);

const scaleFormat = choice(
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

const storage = choice(
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

const bits = Type.Integer({
  minimum: 2,
  maximum: 8,
  ...prose({
    description:
      'Bits of a quantized weight: integers from −2^(bits−1) to 2^(bits−1) − 1, asymmetric from 0 to 2^bits − 1 less the zero point.',
    unit: 'bits',
  }),
});

const fractionBits = Type.Union(
  [Type.Integer({ minimum: 0, maximum: 6 }), Type.Null()],
  prose({
    description:
      'Fraction bits of fixed-point storage; null means 8 − bits. bits + fractionBits may be 8 at most. Other storages ignore it.',
    unit: 'bits',
  }),
);

const encoding = choice(
  {
    auto: 'centred for 1 and 2 fraction bits, reference otherwise.',
    reference: 'Clamp, scale by 2^fractionBits, round half to even: the encoding of the published method.',
    centred: 'Round down and decode to the middle of the step: never flips an integer against round-to-nearest.',
  },
  { description: 'Code of fixed-point storage. Other storages ignore it.' },
);

const rank = Type.Integer({
  minimum: 0,
  maximum: 65536,
  ...prose({
    description:
      'Rank r of the low-rank term A·B (A: outputs × r, B: r × inputs). 0 trains the scales alone. At most the smaller side of the smallest quantized linear.',
    hint: '32 is the published choice; memory for A and B grows in proportion.',
  }),
});

const alpha = Type.Number({
  exclusiveMinimum: 0,
  ...prose({ description: 'The low-rank term is scaled by alpha / rank.' }),
});

const learnScales = Type.Boolean(
  prose({
    description: 'Train the scales as well, at learningRate.scales; false leaves them where the range search put them.',
  }),
);

const learnZeroPoints = Type.Boolean(
  prose({
    description:
      'Train the zero points of asymmetric weights together with the scales, at learningRate.zeroPoints; false leaves them where the range search put them. Has no effect while learnScales is false.',
    hint: 'Only weights outside of the grid pull at a zero point. With fixed-point and integer storage, whose frozen weights start inside, it hardly moves.',
  }),
);

const activationBits = (description: string) =>
  Type.Integer({ minimum: 2, maximum: 8, ...prose({ description, unit: 'bits' }) });

const activations = Type.Union(
  [
    choice(
      {
        a8: '8 bits.',
        'a8-kv4': '8 bits, keys and values of the cache 4.',
        a4: '4 bits.',
      },
      { description: 'A preset.' },
    ),
    Type.Object(
      {
        bits: Type.Optional(activationBits('Bits of an activation; default 8.')),
        kvBits: Type.Optional(
          Type.Union(
            [activationBits('Bits of a key or value.'), Type.Null()],
            prose({
              description:
                'Bits of what a key-value cache would hold: the outputs of k_proj and v_proj. null, the default: as bits.',
            }),
          ),
        ),
        normOutputs: Type.Optional(
          Type.Boolean(
            prose({
              description:
                'Quantize the outputs of the two RMSNorms of a block, which are the inputs of q_proj, k_proj, v_proj, gate_proj and up_proj; default true. false is what the published commands do, where these five linears read unquantized inputs.',
            }),
          ),
        ),
        sites: Type.Optional(
          Type.Array(
            choice(
              {
                keys: 'Output of k_proj, before rotation; bits: kvBits.',
                values: 'Output of v_proj; bits: kvBits.',
                'rotated-queries': 'Queries after rotation, each head on its own.',
                'rotated-keys': 'Keys after rotation, each head on its own.',
                'attention-output': 'Input of o_proj, each head on its own.',
                'mlp-product': 'silu(gate)·up, the input of down_proj.',
              },
              { description: 'A tensor of a block.' },
            ),
            {
              uniqueItems: true,
              ...prose({ description: 'What is quantized beside the outputs of norms; default: all six.' }),
            },
          ),
        ),
        zeroPoint: Type.Optional(
          choice(
            {
              integer: 'An integer on a range that holds zero: what kernels compute with.',
              reference: 'Not rounded, as in the authors’ code: for comparison with it. No kernel has such a grid.',
            },
            { description: 'Zero point of a token’s grid; default "integer".' },
          ),
        ),
        range: Type.Optional(
          choice(
            {
              'per-token': 'Every token has a grid of its own, from its smallest to its largest value.',
              static:
                'Each tensor of each block has one grid, from the running mean (nine tenths of the old) of its smallest and largest value over calibration sequences.',
            },
            { description: 'Where the range comes from; default "per-token".' },
          ),
        ),
        sequences: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 65_536,
            ...prose({
              description:
                'Training sequences that static ranges are calibrated on, one after the other from the first on; default 32.',
              unit: 'sequences',
            }),
          }),
        ),
        symmetric: Type.Optional(
          Type.Boolean(
            prose({
              description:
                'Static grids without a zero point; default false. A tensor with nothing below zero then has the codes 0 … 2^bits − 1.',
            }),
          ),
        ),
        learn: Type.Optional(
          Type.Boolean(
            prose({
              description:
                'Train the scales and zero points of static grids, as LSQ does those of weights; default false: they stay where calibration has put them.',
            }),
          ),
        ),
        learningRate: Type.Optional(
          Type.Number({
            minimum: 0,
            maximum: 1,
            ...prose({
              description: 'Peak learning rate of trained scales and zero points of static grids; default 0.00001.',
            }),
          }),
        ),
        gradientScaling: Type.Optional(
          Type.Boolean(
            prose({
              description:
                'Multiply the gradients of a trained static grid by 1/√(qmax · N) with N numbers of its tensor in a step; default true.',
              hint: 'Without it these gradients are sums over all tokens, and gradientClip leaves little of all others.',
            }),
          ),
        ),
      },
      { additionalProperties: false, ...prose({ description: 'Bits, tensors and grid one by one.' }) },
    ),
    Type.Null(),
  ],
  prose({
    description:
      'Activations that are quantized in every forward, in training and in every measurement but that of the float model: null (none), "a8", "a8-kv4", "a4", or an object with bits, kvBits, normOutputs, sites, zeroPoint, range and what belongs to static ranges. Unless range is "static" each token has a grid of its own (of queries, keys and the attention’s output each head of a token). Exports hold weights: quantizing activations is the business of what runs them.',
    allowed: '"a8", "a8-kv4", "a4", an object such as { "bits": 8, "kvBits": 4 }, or null',
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

const model = requiredSection(
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

const data = requiredSection(
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

const quantization = section(
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

const learningRate = (description: string) => Type.Number({ minimum: 0, maximum: 1, ...prose({ description }) });
const groupRate = (description: string, hint?: string) =>
  Type.Union(
    [Type.Number({ minimum: 0, maximum: 1 }), Type.Null()],
    prose({ description, ...(hint === undefined ? {} : { hint }) }),
  );
const fraction = (description: string) => Type.Number({ minimum: 0, maximum: 1, ...prose({ description }) });
const beta = (description: string) => Type.Number({ minimum: 0, exclusiveMaximum: 1, ...prose({ description }) });

const training = section(
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

const evaluation = section(
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

const checkpoint = section(
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

const device = Type.String({
  pattern: '^(auto|cpu|cuda(:[0-9]+)?)$',
  ...prose({
    description: 'Where the run computes: "auto", "cpu", "cuda" or "cuda:<index>".',
    allowed: '"auto", "cpu", "cuda" or "cuda:<index>"',
  }),
});

const offload = choice(
  {
    auto: 'What has to, so that the run fits into the memory of the GPU.',
    none: 'Everything lies in the memory of the GPU.',
    embeddings: 'Rows of the embedding table are gathered on the host.',
    optimizer: "The optimiser's moments lie in host memory as well; slower where PCI Express is slow.",
  },
  { description: 'What of a run on a GPU lies in host memory; results do not change.' },
);

const compute = choice(
  {
    auto: 'bf16 where the processor multiplies it natively (with AMX tiles, or with AVX512-BF16 where oneDNN is installed) and on a GPU, else float32. The choice is stored with the run.',
    float32: 'All products in float32.',
    bf16: 'Products of BFloat16 inputs with float32 accumulation.',
  },
  { description: 'Number type of the matrix products.' },
);

const threads = Type.Union(
  [
    choice({ auto: 'One thread for each core.' }, { description: 'One thread for each core.' }),
    Type.Integer({ minimum: 1, maximum: 1024 }),
  ],
  prose({ description: 'Threads of the engine: "auto" or a number.', unit: 'threads' }),
);

const memoryLimit = Type.Union(
  [
    Type.String({ pattern: '^(auto|[0-9]+([.][0-9]+)? ?([KMGT]i?)?B)$' }),
    Type.Integer({ minimum: 1, ...prose({ description: 'Bytes.', unit: 'bytes' }) }),
  ],
  prose({
    description:
      'Most memory that the engine may allocate: "auto" (three quarters of the machine\'s memory; of a GPU 95 % of what is free), a size such as "6 GiB" or "800 MB", or a number of bytes.',
    allowed: '"auto", a size such as "6 GiB", or a number of bytes',
  }),
);

/** The resolved experiment: every key present. */
export const ExperimentSchema = requiredSection(
  {
    name: withDefault(
      Type.String({
        maxLength: 200,
        ...prose({ description: 'Shown in lists and part of the run folder; by default the name of this file.' }),
      }),
      '',
    ),
    model,
    data,
    quantization,
    training,
    evaluation,
    checkpoint,
    device: withDefault(device, 'auto'),
    compute: withDefault(compute, 'auto'),
    offload: withDefault(offload, 'auto'),
    threads: withDefault(threads, 'auto'),
    memoryLimit: withDefault(memoryLimit, 'auto'),
  },
  { description: 'One quantization-aware training experiment of LR-QAT Studio.' },
);

/** An experiment with every default filled in. */
export type Experiment = Static<typeof ExperimentSchema>;
/** An experiment as it may be written. */
export type ExperimentInput = InputOf<typeof ExperimentSchema>;
export type Activations = Experiment['quantization']['activations'];
export type LayerOverride = Static<typeof LayerOverrideSchema>;
export type Granularity = Experiment['quantization']['weights']['granularity'];
