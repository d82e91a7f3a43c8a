// The weights of a Hugging Face folder: one safetensors file or shards with an index, as a list of tensors with their places.
// Every header is checked; which tensors a decoder needs is not this file's matter.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import { readJsonDocument } from './json-document';
import { readHeader } from './safetensors-file';
import type { SafetensorsTensor } from './safetensors-header';
import { isObject, quote, showValue } from './show-value';

export interface StoredTensor extends SafetensorsTensor {
  readonly file: string;
}

export interface ModelWeights {
  /** By name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** All safetensors files, and the index where there is one. */
  readonly files: readonly string[];
  readonly warnings: readonly string[];
}

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const MAX_INDEX_BYTES = 100_000_000;

/** @throws UserError WeightsMissing, WeightsInvalid, SafetensorsInvalid */
export async function findWeights(folder: string): Promise<ModelWeights> {
  const names = await list(folder);
  // The single file first, as transformers does.
  if (names.includes(SINGLE)) return readSingle(path.join(folder, SINGLE));
  if (names.includes(INDEX)) return readSharded(folder, path.join(folder, INDEX));
  throw new UserError('WeightsMissing', `${folder}: holds neither ${SINGLE} nor ${INDEX}`, { hint: advice(names) });
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    throw new UserError('WeightsMissing', `${folder}: cannot be listed (${systemErrorCode(error) ?? String(error)})`, {
      cause: error,
    });
  }
}

function advice(names: readonly string[]): string {
  const ends = (end: string): string | undefined => names.find((name) => name.endsWith(end));
  const other = ends('.bin') ?? ends('.pth') ?? ends('.pt') ?? ends('.gguf');
  const shard = names.find((name) => /^model-\d+-of-\d+\.safetensors$/.test(name));
  if (shard !== undefined) return `There are shards (${shard}), but not their index: download ${INDEX} as well.`;
  if (other?.endsWith('.gguf') === true) {
    return `${other} is a GGUF file, quantized for inference: take the original model in safetensors format.`;
  }
  if (other !== undefined) {
    return `${other} is a pickle, which can run code when loaded: convert the model to safetensors (in Python: load it with transformers and call save_pretrained).`;
  }
  return 'Download the whole model folder, weights included.';
}

async function readSingle(file: string): Promise<ModelWeights> {
  const header = await readHeader(file);
  const tensors = new Map([...header.tensors].map(([name, tensor]) => [name, { ...tensor, file }]));
  return { tensors, files: [file], warnings: [] };
}

async function readSharded(folder: string, index: string): Promise<ModelWeights> {
  const weightMap = await readIndex(index);
  const shards = [...new Set(weightMap.values())].sort();
  const present = new Set(await list(folder));
  const missing = shards.filter((shard) => !present.has(shard));
  if (missing.length > 0) {
    throw new UserError(
      'WeightsMissing',
      `${index}: ${String(missing.length)} of ${String(shards.length)} shards are not in the folder: ${some(missing)}`,
      { hint: 'Download the missing files; an interrupted download can be resumed by running it again.' },
    );
  }
  const tensors = new Map<string, StoredTensor>();
  const warnings: string[] = [];
  for (const shard of shards) {
    const file = path.join(folder, shard);
    const unlisted: string[] = [];
    for (const tensor of (await readHeader(file)).tensors.values()) {
      const before = tensors.get(tensor.name);
      if (before !== undefined) {
        throw new UserError(
          'WeightsInvalid',
          `tensor ${quote(tensor.name)} is in two shards: ${before.file} and ${file}`,
        );
      }
      if (weightMap.get(tensor.name) !== shard) unlisted.push(tensor.name);
      tensors.set(tensor.name, { ...tensor, file });
    }
    if (unlisted.length > 0)
      warnings.push(`${file}: holds tensors that ${INDEX} does not place there: ${some(unlisted)}`);
  }
  for (const [name, shard] of weightMap) {
    if (!tensors.has(name)) {
      throw new UserError('WeightsInvalid', `${index}: places ${quote(name)} in ${shard}, which does not hold it`, {
        hint: 'Index and shards belong to different models or downloads: download the folder again.',
      });
    }
  }
  return { tensors, files: [index, ...shards.map((shard) => path.join(folder, shard))], warnings };
}

/** Tensor name → shard file name. */
async function readIndex(index: string): Promise<Map<string, string>> {
  const invalid = (what: string): UserError => new UserError('WeightsInvalid', `${index}: ${what}`);
  const document = await readJsonDocument(index, MAX_INDEX_BYTES);
  const weightMap = isObject(document) ? document['weight_map'] : undefined;
  if (!isObject(weightMap)) throw invalid(`weight_map is ${showValue(weightMap)}, must be an object`);
  const result = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !isPlainName(shard)) {
      throw invalid(
        `weight_map places ${quote(name)} in ${showValue(shard)}; only names of .safetensors files in the same folder are followed`,
      );
    }
    result.set(name, shard);
  }
  if (result.size === 0) throw invalid('weight_map is empty');
  return result;
}

/** A file name that cannot lead out of its folder on any system. */
function isPlainName(name: string): boolean {
  return name.length <= 255 && name.endsWith('.safetensors') && !/[/\\:\0]/.test(name) && !name.startsWith('.');
}

/** The first few of a list for a message. */
export function some(names: readonly string[], count = 4): string {
  const more = names.length - count;
  return names.slice(0, count).join(', ') + (more > 0 ? ` and ${String(more)} more` : '');
}
