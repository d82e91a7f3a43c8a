// A model folder as transformers' save_pretrained leaves it: config.json, safetensors, tokenizer.json. Opening it reads and
// checks all descriptions and no weights.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import { sha256OfFile } from './file-hash';
import { readJsonDocument } from './json-document';
import { parseModelConfig } from './model-config';
import { isDerivedTensor, modelParameters, type ParameterShape } from './model-parameters';
import type { ModelShape, TensorSource, WeightDType } from './model-shape';
import { findWeights, some, type ModelWeights, type StoredTensor } from './model-weights';
import { SafetensorsFile } from './safetensors-file';
import { isObject } from './show-value';

const MAX_CONFIG_BYTES = 10_000_000;

export interface HuggingFaceModel {
  readonly folder: string;
  readonly shape: ModelShape;
  /** All parameters of the decoder, in model order. */
  readonly tensors: readonly TensorSource[];
  /** tokenizer.json. */
  readonly tokenizerFile: string;
  /** config.json as it is. */
  readonly config: Readonly<Record<string, unknown>>;
  /** config.json and the files of the weights: what {@link hash} covers. */
  readonly files: readonly string[];
  /** Things ignored that the user might want to know. */
  readonly warnings: readonly string[];
  /** Tied embeddings count once. */
  readonly parameterCount: number;
  /** Bytes of `tensors` in the checkpoint. */
  readonly weightBytes: number;
  /** SHA-256, hexadecimal, over names and contents of `files`. Reads all weights (seconds a gigabyte) the first time. */
  hash(signal?: AbortSignal): Promise<string>;
}

export interface OpenModelOptions {
  /** false: a folder without tokenizer.json will do. */
  readonly tokenizer?: boolean;
}

/** @throws UserError that names the file, the key or tensor, and what is wrong with it */
export async function openModel(folder: string, options: OpenModelOptions = {}): Promise<HuggingFaceModel> {
  const configFile = path.join(folder, 'config.json');
  const config = await readJsonDocument(configFile, MAX_CONFIG_BYTES);
  if (config === null) throw await missing(folder, configFile);
  const { shape, warnings } = parseModelConfig(config, configFile);
  const weights = await findWeights(folder);
  const chosen = await chooseTensors(shape, weights, folder);
  const tokenizerFile = path.join(folder, 'tokenizer.json');
  if (options.tokenizer !== false && !(await isFile(tokenizerFile))) throw noTokenizer(tokenizerFile);
  const files = [configFile, ...weights.files];
  return {
    folder,
    shape,
    tensors: chosen.tensors,
    tokenizerFile,
    config: isObject(config) ? config : {},
    files,
    warnings: [...warnings, ...weights.warnings, ...chosen.warnings],
    parameterCount: chosen.tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((a, b) => a * b, 1), 0),
    weightBytes: chosen.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
    hash: (signal) => hashFiles(files, signal),
  };
}

async function missing(folder: string, configFile: string): Promise<UserError> {
  const there = await stat(folder).then(
    () => true,
    () => false,
  );
  return new UserError('ModelNotFound', there ? `${configFile}: no such file` : `${folder}: no such folder`, {
    hint: 'A model is a Hugging Face folder: config.json, safetensors files and tokenizer.json.',
  });
}

function noTokenizer(file: string): UserError {
  return new UserError('TokenizerMissing', `${file}: no such file`, {
    hint: 'Download the whole folder, or write one in Python: AutoTokenizer.from_pretrained(folder).save_pretrained(folder).',
  });
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch (error) {
    if (systemErrorCode(error) !== null) return false;
    throw error;
  }
}

interface Chosen {
  readonly tensors: TensorSource[];
  readonly warnings: string[];
}

/** The stored tensors that the decoder needs, with right shapes and types; all that is wrong in one error. */
async function chooseTensors(shape: ModelShape, weights: ModelWeights, folder: string): Promise<Chosen> {
  const needed = modelParameters(shape);
  const absent = needed.filter(({ name }) => !weights.tensors.has(name));
  if (absent.length > 0) throw absentTensors(absent, needed, weights, folder);
  const problems: string[] = [];
  const tensors: TensorSource[] = [];
  for (const parameter of needed) {
    const tensor = weights.tensors.get(parameter.name);
    if (tensor === undefined) continue;
    const { dtype } = tensor;
    if (!isWeightDType(dtype)) {
      problems.push(`${tensor.file}: ${tensor.name} is ${dtype}; weights must be F32, BF16 or F16`);
    } else if (!sameShape(tensor.shape, parameter.shape)) {
      problems.push(
        `${tensor.file}: ${tensor.name} is [${tensor.shape.slice(0, 8).join(', ')}], config.json asks for [${parameter.shape.join(', ')}]`,
      );
    } else {
      tensors.push({
        name: tensor.name,
        file: tensor.file,
        offset: tensor.offset,
        bytes: tensor.bytes,
        dtype,
        shape: tensor.shape,
      });
    }
  }
  const warnings = await judgeOthers(shape, needed, weights, problems);
  if (problems.length > 0) {
    throw new UserError(
      'WeightsInvalid',
      `${folder}: config.json and weights do not fit:\n  ${problems.slice(0, 8).join('\n  ')}${problems.length > 8 ? `\n  and ${String(problems.length - 8)} more` : ''}`,
      {
        hint: 'Both must come from the same, unquantized model.',
      },
    );
  }
  return { tensors, warnings };
}

function absentTensors(
  absent: readonly ParameterShape[],
  needed: readonly ParameterShape[],
  weights: ModelWeights,
  folder: string,
): UserError {
  const names = absent.map(({ name }) => name);
  const stored = [...weights.tensors.keys()];
  let hint = 'The weights belong to another configuration, or the download is incomplete.';
  if (names.length === 1 && names[0] === 'lm_head.weight') {
    hint =
      'Without a head of its own the model shares the embedding: config.json should then say "tie_word_embeddings": true.';
  } else if (stored.some((name) => /\.(qweight|weight_packed|weight_scale|absmax|scales)$/.test(name))) {
    hint = 'The weights are quantized already: take the original in float32, bfloat16 or float16.';
  } else if (names.length === needed.length) {
    hint = `The file holds ${some(stored)}: names of a causal language model as transformers saves it are expected.`;
  }
  return new UserError(
    'WeightsMissing',
    `${folder}: ${String(names.length)} of ${String(needed.length)} tensors are missing: ${some(names)}`,
    { hint },
  );
}

/** Tensors the decoder has no use for. One of a block, or a bias of the head, would be mathematics that is left out. */
async function judgeOthers(
  shape: ModelShape,
  needed: readonly ParameterShape[],
  weights: ModelWeights,
  problems: string[],
): Promise<string[]> {
  const names = new Set(needed.map(({ name }) => name));
  const ignored: string[] = [];
  const warnings: string[] = [];
  let blocks = shape.layers;
  for (const tensor of weights.tensors.values()) {
    if (names.has(tensor.name) || isDerivedTensor(tensor.name)) continue;
    const layer = /^model\.layers\.(\d+)\./.exec(tensor.name)?.[1];
    if (tensor.name === 'lm_head.weight') {
      if (await differsFromEmbedding(tensor, weights)) {
        problems.push(
          `${tensor.file}: lm_head.weight differs from model.embed_tokens.weight, but config.json says "tie_word_embeddings": true`,
        );
      }
    } else if (layer !== undefined && Number(layer) >= shape.layers) {
      blocks = Math.max(blocks, Number(layer) + 1);
    } else if (layer !== undefined || tensor.name.startsWith('lm_head.')) {
      problems.push(`${tensor.file}: ${tensor.name} is a parameter that config.json does not ask for`);
    } else {
      ignored.push(tensor.name);
    }
  }
  if (blocks > shape.layers) {
    problems.push(
      `there are weights of ${String(blocks)} blocks, and config.json says "num_hidden_layers": ${String(shape.layers)}`,
    );
  }
  if (ignored.length > 0) {
    warnings.push(`${String(ignored.length)} tensors that the decoder does not use are ignored: ${some(ignored)}`);
  }
  return warnings;
}

/** Compares the first and last bytes: a copy saved with a tied model is equal everywhere, another head nowhere. */
async function differsFromEmbedding(head: StoredTensor, weights: ModelWeights): Promise<boolean> {
  const embedding = weights.tensors.get('model.embed_tokens.weight');
  if (embedding === undefined) return false;
  if (embedding.dtype !== head.dtype || embedding.bytes !== head.bytes) return true;
  const span = Math.min(1 << 16, head.bytes);
  for (const begin of [0, head.bytes - span]) {
    const [one, other] = await Promise.all([head, embedding].map((tensor) => readSpan(tensor, begin, span)));
    if (one === undefined || other === undefined || Buffer.compare(one, other) !== 0) return true;
  }
  return false;
}

async function readSpan(tensor: StoredTensor, begin: number, length: number): Promise<Uint8Array> {
  const file = await SafetensorsFile.open(tensor.file);
  try {
    return await file.readBytes(tensor.name, begin, begin + length);
  } finally {
    await file.close();
  }
}

function isWeightDType(dtype: string): dtype is WeightDType {
  return dtype === 'F32' || dtype === 'BF16' || dtype === 'F16';
}

function sameShape(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((size, i) => size === other[i]);
}

async function hashFiles(files: readonly string[], signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${path.basename(file)}\0${await sha256OfFile(file, signal)}\n`);
  return hash.digest('hex');
}
