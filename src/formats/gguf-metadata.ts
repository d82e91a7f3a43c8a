// Key-value pairs by which llama.cpp knows the decoder: widths, heads, rotary embedding.
import { ggufArchitecture } from './gguf-names';
import type { GgufValue } from './gguf-file';
import type { ModelShape } from './model-shape';

export const u32 = (value: number): GgufValue => ({ type: 'u32', value });
export const f32 = (value: number): GgufValue => ({ type: 'f32', value });
export const string = (value: string): GgufValue => ({ type: 'string', value });
export const bool = (value: boolean): GgufValue => ({ type: 'bool', value });

/** Pairs of the decoder's shape. */
export function shapeMetadata(shape: ModelShape): [string, GgufValue][] {
  const architecture = ggufArchitecture(shape);
  const key = (name: string): string => `${architecture}.${name}`;
  const pairs: [string, GgufValue][] = [
    [key('block_count'), u32(shape.layers)],
    [key('context_length'), u32(shape.maxPositions)],
    [key('embedding_length'), u32(shape.hiddenSize)],
    [key('feed_forward_length'), u32(shape.intermediateSize)],
    [key('attention.head_count'), u32(shape.heads)],
    [key('attention.head_count_kv'), u32(shape.kvHeads)],
    [key('attention.key_length'), u32(shape.headDim)],
    [key('attention.value_length'), u32(shape.headDim)],
    [key('attention.layer_norm_rms_epsilon'), f32(shape.rmsNormEpsilon)],
    [key('rope.dimension_count'), u32(shape.headDim)],
    [key('rope.freq_base'), f32(shape.ropeTheta)],
    [key('vocab_size'), u32(shape.vocabSize)],
  ];
  if (shape.ropeScaling.type === 'linear') {
    pairs.push(
      [key('rope.scaling.type'), string('linear')],
      [key('rope.scaling.factor'), f32(shape.ropeScaling.factor)],
    );
  }
  return pairs;
}

/** Divisors of the rotary frequencies (tensor `rope_freqs.weight`) that llama3 scaling means; null: there are none. */
export function ropeFactors({ ropeScaling, ropeTheta, headDim }: ModelShape): Float32Array | null {
  if (ropeScaling.type !== 'llama3') return null;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = ropeScaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim);
    if (wavelength < originalMaxPositions / highFrequencyFactor) return 1;
    if (wavelength > originalMaxPositions / lowFrequencyFactor) return factor;
    const share = (originalMaxPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
    return 1 / ((1 - share) / factor + share);
  });
}

/** What llama.cpp does not do as this decoder does. */
export function shapeObstacle(shape: ModelShape): string | null {
  if (shape.ropeScaling.type === 'llama3' && ggufArchitecture(shape) !== 'llama') {
    return `llama.cpp knows no llama3 rotary scaling for ${shape.architecture}`;
  }
  return null;
}

export function shapeWarnings(shape: ModelShape): string[] {
  return shape.slidingWindow !== null && shape.slidingWindow < shape.maxPositions
    ? [
        `the model attends to the last ${String(shape.slidingWindow)} tokens, llama.cpp to all: longer contexts give other numbers`,
      ]
    : [];
}
