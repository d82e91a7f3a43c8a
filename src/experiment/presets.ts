// The paper's recipes by name, with what is known of each and what was not published. Sources: arXiv 2406.06385 (tables 2 to
// 5 and the appendix on training) and the training commands that its authors published with their code.

export interface Preset {
  /** `paper/w4-per-channel` */
  readonly id: string;
  readonly title: string;
  /** Beginning of the file's name. */
  readonly name: string;
  /** What the setting gave in the paper, and what else is known of it; sentences. */
  readonly known: readonly string[];
  readonly unpublished: readonly string[];
  readonly data: readonly string[];
  readonly quantization: readonly string[];
  readonly training: readonly string[];
}

/** WikiText-2 perplexity of LLaMA-2-7B at 2048 tokens, as tables 4 and 5 have it. */
interface Result {
  readonly roundToNearest: string;
  readonly trained: string;
}

interface Setting {
  readonly id: string;
  readonly title: string;
  readonly name: string;
  readonly bits: number;
  readonly granularity: string;
  readonly symmetric: boolean;
  readonly activations?: string;
  readonly result: Result;
  readonly known: readonly string[];
  readonly unpublished: readonly string[];
}

const SEARCHED_RANGE =
  'The exponent p of the range search: it was picked for each setting among 2, 2.4, 3, 3.5, 4 and 5 by rounding to nearest.';
const SEARCHED_RATES =
  'The learning rates of this setting: those of A and B were searched from 1e-5 to 1e-2, those of scales among 0 and 1e-5.';

const ACTIVATIONS_KNOWN =
  'Activations on a grid of their own for each token; the authors do not round its zero point, which no kernel can compute with: "zeroPoint": "reference" does as they do.';
const ACTIVATIONS_UNPUBLISHED = [
  'Whether the outputs of norms were quantized for these results: here they are; the published command leaves them out ("activations": { "normOutputs": false }).',
  SEARCHED_RANGE,
  SEARCHED_RATES,
];

const TWO_BITS = [
  'How zero points are trained: the released code ignores them in its low-rank path. Here they are learned with the scales.',
  SEARCHED_RANGE,
  'The learning rates of this setting: those of A and B were searched from 1e-5 to 1e-2, those of scales among 1e-5 and 1e-4.',
];

function preset({
  id,
  title,
  name,
  bits,
  granularity,
  symmetric,
  activations,
  result,
  known,
  unpublished,
}: Setting): Preset {
  const { roundToNearest, trained } = result;
  return {
    id,
    title,
    name,
    known: [
      `LLaMA-2-7B, WikiText-2 perplexity at 2048 tokens: float 5.47, round to nearest ${roundToNearest}, trained ${trained}.`,
      '10 000 steps of 32 × 1024 tokens of SlimPajama, AdamW, rank 32, α 1; the authors kept A, B and the scales in bfloat16, we in float32.',
      ...known,
    ],
    unpublished,
    data: ['"sequenceLength": 1024'],
    quantization: [
      `"weights": { "bits": ${String(bits)}, "granularity": ${granularity}, "range": "lp-4"${symmetric ? '' : ', "symmetric": false'} },`,
      ...(activations === undefined ? [] : [`"activations": "${activations}",`]),
      '"storage": "fixed-point",',
      '"lowRank": { "rank": 32, "alpha": 1 }',
    ],
    training: [
      '"steps": 10000,',
      '"batchSize": 32,',
      '"microBatchSize": 4,',
      '"learningRate": { "lowRank": 1e-3, "scales": 1e-5 },',
      '"schedule": "linear",',
      '"warmupRatio": 0.1,',
      '"weightDecay": 0,',
      '"gradientClip": 1,',
      '"seed": 1000',
    ],
  };
}

export const PRESETS: readonly Preset[] = [
  preset({
    id: 'paper/w4-per-channel',
    title: 'The paper’s main setting: 4 bits, a scale an output channel.',
    name: 'paper-w4',
    bits: 4,
    granularity: '"per-channel"',
    symmetric: true,
    result: { roundToNearest: '6.14', trained: '5.66' },
    known: ['Every number below stands in the published training command.'],
    unpublished: ['The Wikipedia text that was validated on every 250 steps is not part of the release.'],
  }),
  preset({
    id: 'paper/w4-g128',
    title: 'The paper’s 4 bits with a scale for each group of 128 weights.',
    name: 'paper-w4g128',
    bits: 4,
    granularity: '{ "group": 128 }',
    symmetric: true,
    result: { roundToNearest: '5.78', trained: '5.59' },
    known: [],
    unpublished: [SEARCHED_RANGE, SEARCHED_RATES],
  }),
  preset({
    id: 'paper/w3-per-channel',
    title: 'The paper’s 3 bits, a scale an output channel.',
    name: 'paper-w3',
    bits: 3,
    granularity: '"per-channel"',
    symmetric: true,
    result: { roundToNearest: '26.73', trained: '6.13' },
    known: ['Frozen weights in fixed point Q3.5, the default at 3 bits.'],
    unpublished: [SEARCHED_RANGE, SEARCHED_RATES],
  }),
  preset({
    id: 'paper/w3-g128',
    title: 'The paper’s 3 bits with a scale for each group of 128 weights.',
    name: 'paper-w3g128',
    bits: 3,
    granularity: '{ "group": 128 }',
    symmetric: true,
    result: { roundToNearest: '7.61', trained: '5.98' },
    known: ['Frozen weights in fixed point Q3.5, the default at 3 bits.'],
    unpublished: [SEARCHED_RANGE, SEARCHED_RATES],
  }),
  preset({
    id: 'paper/w2-per-channel-asymmetric',
    title: 'The paper’s 2 bits with zero points, a scale an output channel.',
    name: 'paper-w2',
    bits: 2,
    granularity: '"per-channel"',
    symmetric: false,
    result: { roundToNearest: '5.2e3', trained: '8.51' },
    known: [],
    unpublished: TWO_BITS,
  }),
  preset({
    id: 'paper/w2-g128-asymmetric',
    title: 'The paper’s 2 bits with zero points, a scale for each group of 128 weights.',
    name: 'paper-w2g128',
    bits: 2,
    granularity: '{ "group": 128 }',
    symmetric: false,
    result: { roundToNearest: '2.5e3', trained: '7.62' },
    known: [],
    unpublished: TWO_BITS,
  }),
  preset({
    id: 'paper/w4a8',
    title: 'The paper’s 4-bit weights with 8-bit activations and cache.',
    name: 'paper-w4a8',
    bits: 4,
    granularity: '"per-channel"',
    symmetric: true,
    activations: 'a8',
    result: { roundToNearest: '6.17', trained: '5.67' },
    known: [ACTIVATIONS_KNOWN],
    unpublished: ACTIVATIONS_UNPUBLISHED,
  }),
  preset({
    id: 'paper/w4a8kv4',
    title: 'The paper’s 4-bit weights with 8-bit activations and a 4-bit cache.',
    name: 'paper-w4a8kv4',
    bits: 4,
    granularity: '"per-channel"',
    symmetric: true,
    activations: 'a8-kv4',
    result: { roundToNearest: '6.85', trained: '5.90' },
    known: [ACTIVATIONS_KNOWN],
    unpublished: ACTIVATIONS_UNPUBLISHED,
  }),
  preset({
    id: 'paper/w4a4',
    title: 'The paper’s 4-bit weights with 4-bit activations and cache.',
    name: 'paper-w4a4',
    bits: 4,
    granularity: '"per-channel"',
    symmetric: true,
    activations: 'a4',
    result: { roundToNearest: '18.98', trained: '8.46' },
    known: [ACTIVATIONS_KNOWN],
    unpublished: ACTIVATIONS_UNPUBLISHED,
  }),
];

/** What a file made from the preset says at its top. */
export function presetComments({ id, title, known, unpublished }: Preset): string[] {
  return [
    `${id}: ${title}`,
    ...known,
    ...unpublished.map((sentence) => `Not published: ${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}`),
    'Source: arXiv 2406.06385 and the training commands of its authors.',
  ];
}
