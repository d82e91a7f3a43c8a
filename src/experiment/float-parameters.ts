// The parameters that can be trained beside the quantized linears: norms, the head and the embedding table.

import type { FloatGroup, TrainedFloats } from '../../native/binding/addon';
import { modelParameters, type ParameterShape } from '../formats/model-parameters';
import type { ModelShape } from '../formats/model-shape';

export const FLOAT_GROUPS = ['norms', 'head', 'embeddings'] as const satisfies readonly FloatGroup[];

/** Of a parameter that is no linear's and no bias; null: it is. */
export function floatGroupOf(name: string): FloatGroup | null {
  if (name === 'model.embed_tokens.weight') return 'embeddings';
  if (name === 'lm_head.weight') return 'head';
  return name.endsWith('norm.weight') ? 'norms' : null;
}

/** The trained tensors, in model order. */
export function floatParameters(shape: ModelShape, floats: TrainedFloats | null | undefined): ParameterShape[] {
  if (!floats) return [];
  return modelParameters(shape).filter(({ name }) => {
    const group = floatGroupOf(name);
    return group !== null && floats[group];
  });
}

export function elementsOf({ shape }: ParameterShape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}
