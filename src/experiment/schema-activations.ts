// Of the experiment file: `quantization.activations`.

import * as Type from '@sinclair/typebox';

import { choice, prose } from './schema-kit';

const activationBits = (description: string) =>
  Type.Integer({ minimum: 2, maximum: 8, ...prose({ description, unit: 'bits' }) });

export const activations = Type.Union(
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
