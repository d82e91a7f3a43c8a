// How llama.cpp names the tensors of a decoder, and in which order it wants the rows of queries and keys.
import type { ModelShape } from './model-shape';

const WHOLE_MODEL: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
};
const IN_BLOCK: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** `model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`. */
export function ggufTensorName(name: string): string {
  const end = name.lastIndexOf('.');
  const stem = name.slice(0, end);
  const kind = name.slice(end);
  const block = /^model\.layers\.(\d+)\.(.+)$/.exec(stem);
  const translated = block === null ? WHOLE_MODEL[stem] : IN_BLOCK[block[2] ?? ''];
  if (translated === undefined) throw new RangeError(`llama.cpp has no name for ${name}`);
  return block === null ? translated + kind : `blk.${block[1] ?? ''}.${translated}${kind}`;
}

/** `general.architecture`. Mistral's decoder is LLaMA's. */
export function ggufArchitecture({ architecture }: ModelShape): 'llama' | 'qwen2' | 'qwen3' {
  return architecture === 'mistral' ? 'llama' : architecture;
}

/** Rows of a tensor in the order of the file, or null where they stay. For architecture `llama` llama.cpp rotates neighbouring
 *  elements of a head, Hugging Face element i and i + headDim/2: rows 2i and 2i + 1 of a head are its rows i and i + headDim/2. */
export function ggufRowOrder(shape: ModelShape, name: string): Uint32Array | null {
  const rotated = /\.self_attn\.([qk])_proj\.(weight|bias)$/.exec(name);
  if (rotated === null || ggufArchitecture(shape) !== 'llama') return null;
  const heads = rotated[1] === 'q' ? shape.heads : shape.kvHeads;
  const { headDim } = shape;
  const order = new Uint32Array(heads * headDim);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headDim / 2; i++) {
      order[head * headDim + 2 * i] = head * headDim + i;
      order[head * headDim + 2 * i + 1] = head * headDim + i + headDim / 2;
    }
  }
  return order;
}
