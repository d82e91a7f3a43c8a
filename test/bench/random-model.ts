// A Hugging Face folder of random weights in a given shape, for measuring speed: bf16, normal with standard deviation 0.02,
// norms of one. The same seed gives the same bytes.

import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors, type TensorToWrite } from '../../src/formats/safetensors-writer';
import { LINEAR_NAMES, linearSize, type ModelShape } from '../../src/formats/model-shape';

const bf16One = 0x3f80;

/** Bit patterns of normally distributed bf16 numbers, drawn with a small generator from a table of quantiles. */
function randomWeights(count: number, nextRandom: () => number, quantiles: Uint16Array): Uint16Array {
  const values = new Uint16Array(count);
  for (let i = 0; i < count; ++i) values[i] = quantiles[nextRandom() % quantiles.length] ?? 0;
  return values;
}

/** 4096 draws of a normal distribution (Box–Muller) as bf16 bits, truncated. */
function normalTable(deviation: number, nextRandom: () => number): Uint16Array {
  const uniform = () => (nextRandom() + 1) / 2 ** 32;
  const floats = Float32Array.from(
    { length: 4096 },
    () => deviation * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
}

function xorshift32(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Makes a complete model folder with the sample's tokenizer. Shapes without biases and query-key norms only. */
export async function writeRandomModel(folder: string, shape: ModelShape, seed = 1): Promise<void> {
  const nextRandom = xorshift32(seed);
  const quantiles = normalTable(0.02, nextRandom);
  const { hiddenSize, layers, vocabSize } = shape;
  const weight = (name: string, ...shapeOf: number[]): TensorToWrite => {
    const count = shapeOf.reduce((product, n) => product * n, 1);
    return { name, dtype: 'BF16', shape: shapeOf, data: () => randomWeights(count, nextRandom, quantiles) };
  };
  const norm = (name: string): TensorToWrite => ({
    name,
    dtype: 'BF16',
    shape: [hiddenSize],
    data: new Uint16Array(hiddenSize).fill(bf16One),
  });

  const tensors = [weight('model.embed_tokens.weight', vocabSize, hiddenSize), norm('model.norm.weight')];
  for (let layer = 0; layer < layers; ++layer) {
    const prefix = `model.layers.${String(layer)}`;
    tensors.push(norm(`${prefix}.input_layernorm.weight`), norm(`${prefix}.post_attention_layernorm.weight`));
    for (const linear of LINEAR_NAMES) {
      const { outputs, inputs } = linearSize(shape, linear);
      tensors.push(weight(`${prefix}.${linear}.weight`, outputs, inputs));
    }
  }
  if (!shape.tiedEmbeddings) tensors.push(weight('lm_head.weight', vocabSize, hiddenSize));

  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, { metadata: { format: 'pt' } });
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    hidden_act: 'silu',
    vocab_size: vocabSize,
    max_position_embeddings: shape.maxPositions,
    rms_norm_eps: shape.rmsNormEpsilon,
    rope_theta: shape.ropeTheta,
    tie_word_embeddings: shape.tiedEmbeddings,
    torch_dtype: 'bfloat16',
  };
  await copyFile('samples/first-run/model/tokenizer.json', join(folder, 'tokenizer.json'));
  await writeFile(join(folder, 'config.json'), JSON.stringify(config, null, 2));
}
