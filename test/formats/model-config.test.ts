import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parameterCount, parseModelConfig, type ModelShape } from '../../src/formats';
import { LLAMA, refuses } from './support';

type Config = Readonly<Record<string, unknown>>;
const shapeOf = (config: Config): ModelShape => parseModelConfig(config, 'config.json').shape;
const warningsOf = (config: Config): readonly string[] => parseModelConfig(config, 'config.json').warnings;

const MISTRAL = { ...LLAMA, architectures: ['MistralForCausalLM'], model_type: 'mistral' };
const QWEN2 = { ...LLAMA, architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' };
const QWEN3 = { ...LLAMA, architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', head_dim: 8 };

const GOLDENS = ['test/goldens/data/hf/hf_index.json', '../shared/goldens/hf/hf_index.json'].find((file) =>
  existsSync(file),
);

interface Golden {
  readonly name: string;
  readonly tied: boolean;
  readonly config: Config;
  readonly config_old_style: Config;
}

test(
  'the golden configs, in the style of transformers 5 and of before',
  { skip: GOLDENS === undefined ? 'goldens are not there' : false },
  () => {
    const { models } = JSON.parse(readFileSync(GOLDENS!, 'utf8')) as { models: Golden[] };
    assert.equal(models.length, 8);
    for (const { name, tied, config, config_old_style } of models) {
      const shape = shapeOf(config);
      assert.deepEqual(shapeOf(config_old_style), shape, name);
      assert.equal(shape.tiedEmbeddings, tied, name);
      assert.equal(shape.headDim, config['head_dim'], name);
      assert.deepEqual(warningsOf(config), [], name);
    }
    const shapes = new Map(models.map(({ name, config }) => [name, shapeOf(config)]));
    assert.deepEqual(shapes.get('llama3_gqa_scaled'), {
      architecture: 'llama',
      hiddenSize: 64,
      intermediateSize: 176,
      layers: 3,
      heads: 8,
      kvHeads: 2,
      headDim: 8,
      vocabSize: 256,
      maxPositions: 512,
      rmsNormEpsilon: 1e-5,
      ropeTheta: 500_000,
      ropeScaling: {
        type: 'llama3',
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalMaxPositions: 64,
      },
      slidingWindow: null,
      qkvBias: false,
      outputBias: false,
      mlpBias: false,
      qkNorm: false,
      tiedEmbeddings: false,
    } satisfies ModelShape);
    assert.equal(shapes.get('mistral_window16')?.slidingWindow, 16);
    assert.equal(shapes.get('mistral_full')?.slidingWindow, null);
    const biased = shapes.get('llama_attention_bias')!;
    assert.deepEqual([biased.qkvBias, biased.outputBias, biased.mlpBias], [true, true, false]);
  },
);

// Values that transformers 5.18 gives to keys that are absent: LlamaConfig() and so on.
test('absent keys have the defaults of transformers', () => {
  const minimal = ({
    num_key_value_heads: _,
    max_position_embeddings: __,
    rms_norm_eps: ___,
    hidden_act: ____,
    head_dim: _____,
    ...rest
  }: Config): Config => ({ ...rest, num_attention_heads: 32, hidden_size: 128 });
  const pick = (config: Config): unknown[] => {
    const { kvHeads, headDim, maxPositions, rmsNormEpsilon, ropeTheta, slidingWindow, tiedEmbeddings } =
      shapeOf(config);
    return [kvHeads, headDim, maxPositions, rmsNormEpsilon, ropeTheta, slidingWindow, tiedEmbeddings];
  };
  assert.deepEqual(pick(minimal(LLAMA)), [32, 4, 2048, 1e-6, 10_000, null, false]);
  assert.deepEqual(pick(minimal(MISTRAL)), [8, 4, 131_072, 1e-6, 10_000, 4096, false]);
  assert.deepEqual(pick(minimal(QWEN2)), [32, 4, 32_768, 1e-6, 10_000, null, false]);
  assert.deepEqual(pick(minimal(QWEN3)), [32, 128, 32_768, 1e-6, 10_000, null, false]);
});

test('null is absent, but for kv heads and windows means "as many as heads" and "none"', () => {
  assert.equal(shapeOf({ ...MISTRAL, num_key_value_heads: null }).kvHeads, 4);
  assert.equal(shapeOf({ ...MISTRAL, sliding_window: null }).slidingWindow, null);
  assert.equal(shapeOf({ ...LLAMA, head_dim: null, rope_scaling: null, rope_theta: null }).ropeTheta, 10_000);
});

test('biases and norms by architecture', () => {
  const flags = (config: Config): boolean[] => {
    const { qkvBias, outputBias, mlpBias, qkNorm } = shapeOf(config);
    return [qkvBias, outputBias, mlpBias, qkNorm];
  };
  assert.deepEqual(flags({ ...LLAMA, attention_bias: true, mlp_bias: true }), [true, true, true, false]);
  assert.deepEqual(flags(MISTRAL), [false, false, false, false]);
  assert.deepEqual(flags(QWEN2), [true, false, false, false]);
  assert.deepEqual(flags(QWEN3), [false, false, false, true]);
  assert.deepEqual(flags({ ...QWEN3, attention_bias: true }), [true, true, false, true]);
});

test('sliding windows of Qwen: all layers or none', () => {
  const on = { use_sliding_window: true, sliding_window: 7 };
  assert.equal(
    shapeOf({ ...QWEN2, use_sliding_window: false, sliding_window: 7, max_window_layers: 1 }).slidingWindow,
    null,
  );
  assert.equal(shapeOf({ ...QWEN2, ...on, max_window_layers: 2 }).slidingWindow, null, 'none slides');
  assert.equal(shapeOf({ ...QWEN3, ...on, max_window_layers: 0 }).slidingWindow, 7, 'all slide');
  assert.equal(shapeOf({ ...QWEN3, ...on, layer_types: ['sliding_attention', 'sliding_attention'] }).slidingWindow, 7);
  assert.equal(shapeOf({ ...QWEN3, ...on, layer_types: ['full_attention', 'full_attention'] }).slidingWindow, null);
});

test('rotary scaling', () => {
  const scaling = (rope: Config, more: Config = {}): unknown =>
    shapeOf({ ...LLAMA, ...more, rope_scaling: rope }).ropeScaling;
  assert.deepEqual(scaling({ type: 'linear', factor: 4 }), { type: 'linear', factor: 4 });
  assert.deepEqual(scaling({ rope_type: 'default' }), { type: 'none' });
  const llama3 = { rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4 };
  const expected = { type: 'llama3', factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4 };
  assert.deepEqual(scaling({ ...llama3, original_max_position_embeddings: 16 }), {
    ...expected,
    originalMaxPositions: 16,
  });
  assert.deepEqual(scaling(llama3), { ...expected, originalMaxPositions: 64 }, 'without it, the present length');
  const agreeing = { ...llama3, original_max_position_embeddings: 8 };
  assert.deepEqual(scaling(agreeing, { original_max_position_embeddings: 8 }), {
    ...expected,
    originalMaxPositions: 8,
  });
  assert.deepEqual(scaling({ type: 'linear', factor: 4 }, { original_max_position_embeddings: 8 }), {
    type: 'linear',
    factor: 4,
  });
  const both = { rope_parameters: { rope_type: 'linear', factor: 4 }, rope_scaling: { type: 'linear', factor: 4 } };
  assert.deepEqual(shapeOf({ ...LLAMA, ...both }).ropeScaling, { type: 'linear', factor: 4 });
});

/** Changed keys, and what the one message must say. */
const REFUSED: readonly (readonly [Config, ...RegExp[]])[] = [
  [
    { architectures: ['GPT2LMHeadModel'], model_type: 'gpt2' },
    /architectures is \["GPT2LMHeadModel"\]: supported are LlamaForCausalLM, MistralForCausalLM/,
  ],
  [{ architectures: ['LlamaForSequenceClassification'] }, /LlamaForSequenceClassification/],
  [{ architectures: ['LlamaForCausalLM', 'LlamaForCausalLM'] }, /one is expected/],
  [{ architectures: ['constructor'] }, /architectures is \["constructor"\]/],
  [{ architectures: 'LlamaForCausalLM' }, /architectures is "LlamaForCausalLM"/],
  [{ architectures: undefined, model_type: 'phi3' }, /model_type is "phi3"/],
  [{ model_type: 'mistral' }, /model_type is "mistral": does not belong to LlamaForCausalLM/],
  [{ quantization_config: { quant_method: 'gptq', bits: 4 } }, /quantization_config .*quantized already \("gptq"\)/],
  [{ compression_config: {} }, /compression_config/],
  [
    { auto_map: { AutoModelForCausalLM: 'modeling_x.X' } },
    /auto_map.AutoModelForCausalLM is "modeling_x.X": .*code of its own/,
  ],
  [{ hidden_size: undefined }, /hidden_size is missing/],
  [{ hidden_size: '16' }, /hidden_size is "16": must be a whole number/],
  [{ hidden_size: 0 }, /hidden_size is 0/],
  [{ hidden_size: 2 ** 40 }, /hidden_size is 1099511627776/],
  [{ num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000/],
  [{ num_hidden_layers: 1.5 }, /num_hidden_layers is 1.5/],
  [{ vocab_size: -1 }, /vocab_size is -1/],
  [{ hidden_size: 18 }, /head_dim is missing: needed, because num_attention_heads \(4\) does not divide/],
  [{ hidden_size: 12 }, /hidden_size is 12: gives heads of 3/],
  [
    { num_attention_heads: 2 ** 20, num_key_value_heads: 2, head_dim: 64 },
    /num_attention_heads is 1048576: gives .* a width above/,
  ],
  [{ head_dim: 5 }, /head_dim is 5: must be even/],
  [{ num_key_value_heads: 3 }, /num_key_value_heads is 3: must divide num_attention_heads \(4\)/],
  [{ rms_norm_eps: 0 }, /rms_norm_eps is 0: must be a number above 0/],
  [{ rms_norm_eps: null, hidden_act: 'gelu' }, /hidden_act is "gelu": only "silu"/],
  [{ pretraining_tp: 2 }, /pretraining_tp is 2/],
  [{ sliding_window: 32 }, /sliding_window is 32: is not a part of llama/],
  [{ layer_types: ['full_attention', 'sliding_attention'] }, /layer_types/],
  [{ tie_word_embeddings: 'yes' }, /tie_word_embeddings is "yes": must be true or false/],
  [{ attention_bias: 1 }, /attention_bias is 1: must be true or false/],
  [{ rope_theta: -1 }, /rope_theta is -1/],
  [{ rope_scaling: [] }, /rope_scaling is \[\]: must be an object or null/],
  [
    { rope_scaling: { rope_type: 'yarn', factor: 4 } },
    /rope_scaling.rope_type is "yarn": supported are "default", "linear" and "llama3"/,
  ],
  [{ rope_scaling: { type: 'dynamic', factor: 4 } }, /rope_scaling.type is "dynamic"/],
  [{ rope_scaling: { rope_type: 'longrope' } }, /longrope/],
  [
    { rope_scaling: { type: 'linear', rope_type: 'default' } },
    /rope_scaling.type is "linear": rope_type says "default"/,
  ],
  [{ rope_scaling: { type: 'linear' } }, /rope_scaling.factor is missing/],
  [{ rope_scaling: { type: 'linear', factor: 2, mscale: 1 } }, /rope_scaling.mscale is 1: is not supported/],
  [
    { rope_scaling: { type: 'linear', factor: 2, partial_rotary_factor: 0.5 } },
    /rope_scaling.partial_rotary_factor is 0.5/,
  ],
  [
    { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
    /high_freq_factor is 4: must be above low_freq_factor/,
  ],
  [
    {
      rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 8,
    },
    /original_max_position_embeddings is 8: the rotary settings say 64/,
  ],
  [
    { rope_parameters: { rope_theta: 5, rope_type: 'default' }, rope_theta: 6 },
    /rope_parameters.rope_theta is 5: rope_theta outside says 6/,
  ],
  [
    { rope_parameters: { rope_type: 'default' }, rope_scaling: { type: 'linear', factor: 2 } },
    /rope_scaling .*only one of them can be right/,
  ],
  [{ rope_parameters: { full_attention: { rope_theta: 1 } } }, /rope_parameters.full_attention .*is not supported/],
  [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0.5: changes the mathematics/],
  [{ attn_logit_softcapping: 50 }, /attn_logit_softcapping is 50/],
  [{ final_logit_softcapping: 30 }, /final_logit_softcapping/],
  [{ residual_multiplier: 0.2 }, /residual_multiplier is 0.2/],
  [{ num_local_experts: 8 }, /num_local_experts is 8/],
  [{ clip_qkv: 8 }, /clip_qkv is 8/],
  [{ use_qk_norm: true }, /use_qk_norm is true/],
  [{ is_encoder_decoder: true }, /is_encoder_decoder is true/],
  [{ some_new_attention_scale: 2 }, /some_new_attention_scale is 2: .*may change the mathematics/],
  [{ pruned_heads: { 0: [1] } }, /pruned_heads/],
  // Several at once are told at once.
  [{ hidden_act: 'gelu', clip_qkv: 8, vocab_size: 0 }, /hidden_act/, /clip_qkv/, /vocab_size/],
];

for (const [change, ...patterns] of REFUSED) {
  test(`refused: ${JSON.stringify(change)}`, async () => {
    const config = JSON.parse(JSON.stringify({ ...LLAMA, ...change })) as Config;
    const error = await refuses(
      () => parseModelConfig(config, 'model/config.json'),
      /^model\/config\.json:/,
      ...patterns,
    );
    assert.equal(error.code, 'ModelUnsupported');
  });
}

test('refused in other architectures', async () => {
  const refusesIn = (config: Config, ...patterns: RegExp[]): Promise<unknown> =>
    refuses(() => parseModelConfig(config, 'config.json'), ...patterns);
  await refusesIn({ ...MISTRAL, attention_bias: true }, /attention_bias is true: is not a part of mistral/);
  await refusesIn({ ...QWEN2, mlp_bias: true }, /mlp_bias is true: is not a part of qwen2/);
  await refusesIn({ ...MISTRAL, layer_types: ['full_attention', 'sliding_attention'] }, /layer_types/);
  await refusesIn(
    { ...QWEN2, use_sliding_window: true, sliding_window: 8, max_window_layers: 1 },
    /max_window_layers is 1: .*mixes full and sliding/,
  );
  await refusesIn(
    { ...QWEN3, use_sliding_window: true, sliding_window: 8, layer_types: ['full_attention', 'sliding_attention'] },
    /layer_types .*mixture/,
  );
  await refusesIn({ ...QWEN3, max_window_layers: 'x' }, /max_window_layers is "x"/);
  for (const value of [null, [], 'x', 3]) await refusesIn(value as unknown as Config, /must be a JSON object/);
});

test('what says nothing about the mathematics is accepted in silence', () => {
  assert.deepEqual(
    warningsOf({
      ...LLAMA,
      torch_dtype: 'bfloat16',
      dtype: 'bfloat16',
      bos_token_id: 1,
      eos_token_id: [2, 3],
      use_cache: true,
      initializer_range: 0.02,
      attention_dropout: 0,
      _attn_implementation: 'sdpa',
      transformers_version: '4.0',
      auto_map: { AutoTokenizer: 'x' },
      clip_qkv: null,
      residual_multiplier: 1,
      num_experts: 0,
      alibi: false,
      rope_scaling: null,
      some_future_norm: false,
      other_future_scale: null,
    }),
    [],
  );
});

// Key sets as models on the hub have them (sizes are those of the test).
test('configs in the style of well-known models raise neither error nor warning', () => {
  const common = {
    attention_dropout: 0,
    bos_token_id: 1,
    eos_token_id: 2,
    initializer_range: 0.02,
    torch_dtype: 'bfloat16',
    transformers_version: '4.45.0',
    use_cache: true,
  };
  const llama31 = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
    rope_type: 'llama3',
  };
  const known: readonly Config[] = [
    { ...LLAMA, ...common, pad_token_id: 0, pretraining_tp: 1, rope_scaling: null, tie_word_embeddings: false },
    {
      ...LLAMA,
      ...common,
      eos_token_id: [1, 8, 9],
      attention_bias: false,
      mlp_bias: false,
      pretraining_tp: 1,
      rope_theta: 500000,
      rope_scaling: llama31,
    },
    {
      ...LLAMA,
      ...common,
      is_llama_config: true,
      rope_interleaved: false,
      rope_scaling: null,
      'transformers.js_config': { dtype: 'q4' },
    },
    { ...LLAMA, ...common, _name_or_path: 'x', max_sequence_length: 2048, pretraining_tp: 1 },
    { ...MISTRAL, ...common, sliding_window: null, rope_theta: 1e6, head_dim: 8 },
    { ...QWEN2, ...common, max_window_layers: 24, sliding_window: 32768, use_sliding_window: false, use_mrope: false },
    {
      ...QWEN3,
      ...common,
      attention_bias: false,
      max_window_layers: 28,
      sliding_window: null,
      use_sliding_window: false,
      rope_scaling: null,
    },
  ];
  for (const config of known) assert.deepEqual(warningsOf(config), []);
});

test('what is not known is named in a warning', () => {
  const warnings = warningsOf({
    ...LLAMA,
    trained_by: 'me',
    attention_dropout: 0.1,
    rope_scaling: { type: 'default', factor: 2 },
  });
  assert.deepEqual(warnings.length, 3);
  assert.ok(warnings.some((warning) => warning.includes('trained_by is "me": unknown key')));
  assert.ok(warnings.some((warning) => /attention_dropout is 0.1: dropout is not applied/.test(warning)));
  assert.ok(warnings.some((warning) => /rope_scaling.factor is 2: has no effect/.test(warning)));
});

test('parameters of known models are counted right', () => {
  const llama2 = {
    ...LLAMA,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32000,
  };
  // Numbers the makers publish (Llama 2 7B; Qwen3 0.6B with and without its embedding).
  assert.equal(parameterCount(shapeOf(llama2)), 6_738_415_616);
  const qwen = {
    ...QWEN3,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: 151_936,
    tie_word_embeddings: true,
  };
  assert.equal(parameterCount(shapeOf(qwen)), 596_049_920);
});
