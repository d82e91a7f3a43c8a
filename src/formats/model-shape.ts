// What the decoder must know about a checkpoint: every number of config.json that changes the mathematics, normalized.

/** Rotary embedding frequencies: theta^(-2i/headDim), optionally rescaled. */
export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    };

/** A LLaMA-family decoder. Widths in elements. */
export interface ModelShape {
  readonly architecture: 'llama' | 'mistral' | 'qwen2' | 'qwen3';
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Key-value heads; divides `heads` (equal: multi-head, smaller: grouped-query attention). */
  readonly kvHeads: number;
  /** May differ from hiddenSize / heads. */
  readonly headDim: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEpsilon: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Keys visible to a query, itself included; null: all before it. */
  readonly slidingWindow: number | null;
  /** Biases on q, k, v projections. */
  readonly qkvBias: boolean;
  /** Bias on the attention output projection. */
  readonly outputBias: boolean;
  /** Biases on gate, up and down projections. */
  readonly mlpBias: boolean;
  /** RMSNorm over each head of queries and keys before rotation (Qwen3). */
  readonly qkNorm: boolean;
  /** The head shares the embedding table. */
  readonly tiedEmbeddings: boolean;
}

export type WeightDType = 'F32' | 'BF16' | 'F16';

/** Where one tensor of a checkpoint lies; offsets already checked against the file (safetensors header rules). */
export interface TensorSource {
  /** Hugging Face parameter name, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly file: string;
  /** Byte offset from the start of the file, and byte length. */
  readonly offset: number;
  readonly bytes: number;
  readonly dtype: WeightDType;
  readonly shape: readonly number[];
}

/** The seven linears of a block, in the order in which the engine computes them. */
export const LINEAR_NAMES = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
] as const;
export type LinearName = (typeof LINEAR_NAMES)[number];

/** Outputs and inputs `[m, n]` of a linear. */
export function linearSize(shape: ModelShape, linear: LinearName): { outputs: number; inputs: number } {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = shape;
  switch (linear) {
    case 'self_attn.q_proj':
      return { outputs: heads * headDim, inputs: hiddenSize };
    case 'self_attn.k_proj':
    case 'self_attn.v_proj':
      return { outputs: kvHeads * headDim, inputs: hiddenSize };
    case 'self_attn.o_proj':
      return { outputs: hiddenSize, inputs: heads * headDim };
    case 'mlp.gate_proj':
    case 'mlp.up_proj':
      return { outputs: intermediateSize, inputs: hiddenSize };
    case 'mlp.down_proj':
      return { outputs: hiddenSize, inputs: intermediateSize };
  }
}

/** Full names of all linears in model order: `model.layers.0.self_attn.q_proj`, … */
export function linearNames(shape: ModelShape): string[] {
  return Array.from({ length: shape.layers }, (_, layer) =>
    LINEAR_NAMES.map((linear) => `model.layers.${String(layer)}.${linear}`),
  ).flat();
}
