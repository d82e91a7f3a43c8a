// The parameters a decoder of a given shape has, with their Hugging Face names: what a checkpoint must hold, and what it may.
import { linearSize, LINEAR_NAMES, type LinearName, type ModelShape } from './model-shape';

export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** All parameters of the decoder in model order; with tied embeddings there is no `lm_head.weight`. */
export function modelParameters(shape: ModelShape): ParameterShape[] {
  const { hiddenSize, headDim, vocabSize } = shape;
  const parameters: ParameterShape[] = [{ name: 'model.embed_tokens.weight', shape: [vocabSize, hiddenSize] }];
  for (let layer = 0; layer < shape.layers; layer++) {
    const add = (name: string, size: readonly number[]): void => {
      parameters.push({ name: `model.layers.${String(layer)}.${name}`, shape: size });
    };
    add('input_layernorm.weight', [hiddenSize]);
    for (const linear of LINEAR_NAMES) {
      const { outputs, inputs } = linearSize(shape, linear);
      add(`${linear}.weight`, [outputs, inputs]);
      if (hasBias(shape, linear)) add(`${linear}.bias`, [outputs]);
    }
    if (shape.qkNorm) {
      add('self_attn.q_norm.weight', [headDim]);
      add('self_attn.k_norm.weight', [headDim]);
    }
    add('post_attention_layernorm.weight', [hiddenSize]);
  }
  parameters.push({ name: 'model.norm.weight', shape: [hiddenSize] });
  if (!shape.tiedEmbeddings) parameters.push({ name: 'lm_head.weight', shape: [vocabSize, hiddenSize] });
  return parameters;
}

export function hasBias(shape: ModelShape, linear: LinearName): boolean {
  switch (linear) {
    case 'self_attn.q_proj':
    case 'self_attn.k_proj':
    case 'self_attn.v_proj':
      return shape.qkvBias;
    case 'self_attn.o_proj':
      return shape.outputBias;
    case 'mlp.gate_proj':
    case 'mlp.up_proj':
    case 'mlp.down_proj':
      return shape.mlpBias;
  }
}

/** Number of trained-or-not parameters; tied ones count once. */
export function parameterCount(shape: ModelShape): number {
  return modelParameters(shape).reduce((sum, { shape: size }) => sum + size.reduce((a, b) => a * b, 1), 0);
}

/** Tables that old checkpoints store and every reader computes anew. */
export function isDerivedTensor(name: string): boolean {
  return /\.rotary_emb\.(inv_freq|cos_cached|sin_cached)$/.test(name);
}
