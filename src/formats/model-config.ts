// config.json → ModelShape: every key that changes the mathematics is read, or refused by name. Defaults of absent keys are
// those of transformers (checked against 5.18), whose own version of this file is what checkpoints are written for.
import { UserError } from '../errors';
import { judgeUnreadKey } from './config-keys';
import { ConfigReader } from './config-reader';
import type { ModelShape } from './model-shape';
import { readRope } from './rope-config';
import { isObject, showValue } from './show-value';

type Architecture = ModelShape['architecture'];

interface Family {
  readonly architecture: Architecture;
  /** Defaults of keys that may be absent. */
  readonly maxPositions: number;
  readonly slidingWindow: number;
  /** null: as many as `num_attention_heads`. */
  readonly kvHeads: number | null;
  /** null: hidden_size / num_attention_heads. */
  readonly headDim: number | null;
}

const FAMILIES: Readonly<Record<string, Family>> = {
  LlamaForCausalLM: { architecture: 'llama', maxPositions: 2048, slidingWindow: 0, kvHeads: null, headDim: null },
  MistralForCausalLM: {
    architecture: 'mistral',
    maxPositions: 131_072,
    slidingWindow: 4096,
    kvHeads: 8,
    headDim: null,
  },
  Qwen2ForCausalLM: {
    architecture: 'qwen2',
    maxPositions: 32_768,
    slidingWindow: 4096,
    kvHeads: 32,
    headDim: null,
  },
  Qwen3ForCausalLM: {
    architecture: 'qwen3',
    maxPositions: 32_768,
    slidingWindow: 4096,
    kvHeads: 32,
    headDim: 128,
  },
};
const SUPPORTED = Object.keys(FAMILIES).join(', ');

// Far above any model, low enough that no product of two of them leaves the integers of a double.
const MAX_WIDTH = 2 ** 22;
const MAX_LAYERS = 4096;
const MAX_POSITIONS = 2 ** 31 - 1;

export interface ModelConfig {
  readonly shape: ModelShape;
  /** What was ignored and might be worth knowing; for the user, one line each. */
  readonly warnings: readonly string[];
}

/** Reads a parsed config.json.
 *  @throws UserError ModelUnsupported that lists everything wrong or not supported, by key and value */
export function parseModelConfig(config: unknown, file: string): ModelConfig {
  if (!isObject(config)) {
    throw new UserError('ModelUnsupported', `${file}: is ${showValue(config)}, must be a JSON object`);
  }
  const reader = new ConfigReader(config);
  const family = readFamily(reader, file);
  refuseAlreadyQuantized(reader);
  refuseOwnCode(reader);
  const shape = readShape(reader, family);
  for (const key of reader.unread()) {
    const verdict = judgeUnreadKey(key, config[key]);
    if (verdict.kind === 'problem') reader.problem(key, verdict.what);
    if (verdict.kind === 'warning') reader.warn(key, verdict.what);
  }
  if (reader.problems.length > 0) throw unsupported(file, reader.problems);
  return { shape, warnings: reader.warnings.map((warning) => `${file}: ${warning}`) };
}

function unsupported(file: string, problems: readonly string[]): UserError {
  const list = problems.length === 1 ? ` ${problems[0] ?? ''}` : problems.map((problem) => `\n  ${problem}`).join('');
  return new UserError('ModelUnsupported', `${file}:${list}`, {
    hint: `Supported are decoders of ${SUPPORTED} with unquantized weights.`,
  });
}

function readFamily(config: ConfigReader, file: string): Family {
  const architectures = config.value('architectures');
  const modelType = config.string('model_type');
  const byType = Object.entries(FAMILIES).find(([, family]) => family.architecture === modelType)?.[0];
  if (architectures === undefined) {
    if (byType === undefined)
      throw unsupported(file, [`model_type is ${showValue(modelType ?? undefined)}, and architectures is missing`]);
    config.warn('architectures', `taken to be ${byType} by model_type`);
  }
  const name: unknown = Array.isArray(architectures) && architectures.length === 1 ? architectures[0] : byType;
  const family = typeof name === 'string' && Object.hasOwn(FAMILIES, name) ? FAMILIES[name] : undefined;
  if (family === undefined || (architectures !== undefined && !Array.isArray(architectures))) {
    throw unsupported(file, [`architectures is ${showValue(architectures)}: supported are ${SUPPORTED}`]);
  }
  if (Array.isArray(architectures) && architectures.length !== 1) {
    throw unsupported(file, [`architectures is ${showValue(architectures)}: one is expected`]);
  }
  if (modelType !== null && modelType !== family.architecture) {
    config.problem('model_type', `does not belong to ${String(name)} ("${family.architecture}")`);
  }
  return family;
}

function refuseAlreadyQuantized(config: ConfigReader): void {
  for (const key of ['quantization_config', 'compression_config', 'quantization']) {
    const value = config.value(key);
    if (value === undefined) continue;
    const method = isObject(value) ? showValue(value['quant_method']) : showValue(value);
    config.problem(
      key,
      `the model is quantized already (${method}); take the original in float32, bfloat16 or float16`,
    );
  }
}

/** With `trust_remote_code` the mathematics would be whatever a Python file in the folder says. */
function refuseOwnCode(config: ConfigReader): void {
  const map = config.object('auto_map');
  if (map === null) return;
  for (const key of map.unread()) {
    if (key.startsWith('AutoModel')) map.problem(key, 'the model brings code of its own, which cannot be followed');
    else map.value(key);
  }
}

function readShape(config: ConfigReader, family: Family): ModelShape {
  const { architecture } = family;
  const hiddenSize = config.count('hidden_size', MAX_WIDTH);
  const heads = config.count('num_attention_heads', MAX_WIDTH);
  const layers = config.count('num_hidden_layers', MAX_LAYERS);
  const maxPositions = config.count('max_position_embeddings', MAX_POSITIONS, family.maxPositions);
  const rope = readRope(config, maxPositions);
  const bias = readBiases(config, architecture);
  checkActivation(config);
  const shape: ModelShape = {
    architecture,
    hiddenSize,
    intermediateSize: config.count('intermediate_size', MAX_WIDTH),
    layers,
    heads,
    kvHeads: readKvHeads(config, family, heads),
    headDim: readHeadDim(config, family, hiddenSize, heads),
    vocabSize: config.count('vocab_size', 2 ** 26),
    maxPositions,
    rmsNormEpsilon: config.positive('rms_norm_eps', 1e-6),
    ropeTheta: rope.theta,
    ropeScaling: rope.scaling,
    slidingWindow: readSlidingWindow(config, family, layers),
    ...bias,
    qkNorm: architecture === 'qwen3',
    tiedEmbeddings: config.boolean('tie_word_embeddings', false),
  };
  if (heads * shape.headDim > MAX_WIDTH) {
    config.problem(
      'num_attention_heads',
      `gives with heads of ${String(shape.headDim)} a width above ${String(MAX_WIDTH)}`,
    );
  }
  const parallel = config.value('pretraining_tp');
  if (parallel !== undefined && parallel !== 1) {
    config.problem('pretraining_tp', 'only 1 is supported (other values split the products and round differently)');
  }
  const pruned = config.value('pruned_heads');
  if (isObject(pruned) && Object.keys(pruned).length > 0) config.problem('pruned_heads', 'is not supported');
  return shape;
}

function readKvHeads(config: ConfigReader, family: Family, heads: number): number {
  // Absent and null differ: for absent keys the family's own default steps in.
  const fallback = config.isNull('num_key_value_heads') ? heads : (family.kvHeads ?? heads);
  const kvHeads = config.count('num_key_value_heads', MAX_WIDTH, fallback);
  if (heads % kvHeads !== 0)
    config.problem('num_key_value_heads', `must divide num_attention_heads (${String(heads)})`);
  return kvHeads;
}

function readHeadDim(config: ConfigReader, family: Family, hiddenSize: number, heads: number): number {
  if (!config.has('head_dim') && (family.headDim === null || config.isNull('head_dim'))) {
    if (hiddenSize % heads !== 0) {
      config.problem('head_dim', `needed, because num_attention_heads (${String(heads)}) does not divide hidden_size`);
    } else if ((hiddenSize / heads) % 2 !== 0) {
      config.problem('hidden_size', `gives heads of ${String(hiddenSize / heads)}, must be even for rotary embedding`);
    }
    return Math.max(1, Math.floor(hiddenSize / heads));
  }
  const headDim = config.count('head_dim', MAX_WIDTH, family.headDim ?? undefined);
  if (headDim % 2 !== 0) config.problem('head_dim', 'must be even for rotary embedding');
  return headDim;
}

type Biases = Pick<ModelShape, 'qkvBias' | 'outputBias' | 'mlpBias'>;

function readBiases(config: ConfigReader, architecture: Architecture): Biases {
  const attention = config.boolean('attention_bias', false);
  const mlpBias = config.boolean('mlp_bias', false);
  if (mlpBias && architecture !== 'llama') config.problem('mlp_bias', `is not a part of ${architecture}`);
  switch (architecture) {
    case 'llama':
      return { qkvBias: attention, outputBias: attention, mlpBias };
    case 'qwen3':
      return { qkvBias: attention, outputBias: attention, mlpBias: false };
    case 'mistral':
      if (attention) config.problem('attention_bias', 'is not a part of mistral');
      return { qkvBias: false, outputBias: false, mlpBias: false };
    case 'qwen2':
      // Always there, whatever a stray attention_bias says; the tensors must agree.
      return { qkvBias: true, outputBias: false, mlpBias: false };
  }
}

function checkActivation(config: ConfigReader): void {
  const name = config.string('hidden_act');
  if (name !== null && name !== 'silu' && name !== 'swish') config.problem('hidden_act', 'only "silu" is supported');
}

/** Keys visible to a query, or null. Layers must all be alike. */
function readSlidingWindow(config: ConfigReader, family: Family, layers: number): number | null {
  const types = config.value('layer_types');
  switch (family.architecture) {
    case 'llama':
      // transformers ignores the key for LLaMA, other programs do not.
      if (config.has('sliding_window')) config.problem('sliding_window', 'is not a part of llama');
      return fullOnly(config, types);
    case 'mistral': {
      const window = config.isNull('sliding_window')
        ? null
        : config.count('sliding_window', MAX_POSITIONS, family.slidingWindow);
      const wanted = window === null ? 'full_attention' : 'sliding_attention';
      if (types !== undefined && !isAll(types, wanted)) {
        config.problem('layer_types', `only "${wanted}" in all layers is supported here`);
      }
      return window;
    }
    case 'qwen2':
    case 'qwen3':
      return readQwenWindow(config, family, types, layers);
  }
}

function fullOnly(config: ConfigReader, types: unknown): null {
  if (types !== undefined && !isAll(types, 'full_attention')) {
    config.problem('layer_types', 'only "full_attention" in all layers is supported here');
  }
  return null;
}

/** Layers from `max_window_layers` on slide when `use_sliding_window` is on; `layer_types`, where given, says it layer by layer. */
function readQwenWindow(config: ConfigReader, family: Family, types: unknown, layers: number): number | null {
  const used = config.boolean('use_sliding_window', false);
  const noWindow = config.isNull('sliding_window');
  const width = noWindow ? null : config.count('sliding_window', MAX_POSITIONS, family.slidingWindow);
  const first = config.value('max_window_layers') ?? 28;
  if (typeof first !== 'number' || !Number.isInteger(first) || first < 0) {
    config.problem('max_window_layers', 'must be a whole number, 0 or more');
    return null;
  }
  if (!used || width === null) return fullOnly(config, types);
  if (types !== undefined) {
    if (isAll(types, 'full_attention')) return null;
    if (isAll(types, 'sliding_attention')) return width;
    config.problem('layer_types', 'a mixture of full and sliding attention is not supported');
    return null;
  }
  if (first > 0 && first < layers) {
    config.problem(
      'max_window_layers',
      `with use_sliding_window mixes full and sliding attention in ${String(layers)} layers, which is not supported`,
    );
  }
  return first === 0 ? width : null;
}

function isAll(types: unknown, wanted: string): boolean {
  return Array.isArray(types) && types.every((type) => type === wanted);
}
