// A run as a Hugging Face folder: model.safetensors in one of several layouts, config.json with what changes, everything else of the
// model folder that belongs to the tokenizer or the licence as it is.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../../errors';
import { writeSafetensors, type TensorToWrite } from '../../formats';
import { planCompressedTensors } from '../../formats/compressed-tensors';
import { planDequantized } from '../../formats/dequantized-model';
import { shardsOf, tensorBytes } from '../../formats/safetensors-shards';
import { writeFileAtomic } from '../../formats/file-system';
import type { FolderContents } from '../../formats/folder-export';
import { planGptq } from '../../formats/gptq';
import { planPackedIntegers } from '../../formats/packed-integers';
import type { WeightDType } from '../../formats/model-shape';
import { jsonText } from '../../runs/json-file';
import {
  impossible,
  type Destination,
  type ExportFormat,
  type FormatOptions,
  type FormatPlan,
  type PlannedFile,
  type Planner,
} from './formats';
import { licenceOf } from './licence';
import type { Meter } from './meter';
import type { ExportSource } from './source';

export const planHuggingFace: Planner = async (source, options) =>
  folderPlan('huggingface', source, await planDequantized(source.merged, dequantizedType(options)), options);

export const planCompressed: Planner = async (source, options) => {
  refuseType('compressed-tensors', options);
  return folderPlan('compressed-tensors', source, await planCompressedTensors(source.merged), options);
};

export const planGptqExport: Planner = async (source, options) => {
  refuseType('gptq', options);
  return folderPlan('gptq', source, await planGptq(source.merged), options);
};

export const planOwn: Planner = async (source, options) => {
  refuseType('lr-qat', options);
  return folderPlan('lr-qat', source, await planPackedIntegers(source.merged), options);
};

const TYPES: Readonly<Record<string, WeightDType>> = { fp32: 'F32', fp16: 'F16', bf16: 'BF16', f32: 'F32', f16: 'F16' };

function dequantizedType({ type, floatType }: FormatOptions): WeightDType | null {
  if (floatType !== undefined) throw noChoice('--float-type', 'huggingface: all tensors have the type of --type');
  if (type === undefined) return null;
  const found = TYPES[type.toLowerCase()];
  if (found !== undefined) return found;
  throw new UserError('UnknownType', `--type ${type}: not a type of a Hugging Face folder`, {
    hint: 'Types: bf16, fp16, fp32; without --type the smallest that loses nothing.',
  });
}

function refuseType(format: ExportFormat, { type, floatType }: FormatOptions): void {
  if (type !== undefined) throw noChoice('--type', `${format} follows the bits of the run`);
  if (floatType !== undefined) throw noChoice('--float-type', `${format} follows the type of the model`);
}

function noChoice(option: string, why: string): UserError {
  return new UserError('UnknownType', `${option}: ${why}`, { hint: `Leave ${option} out.` });
}

/** As transformers splits since its version 5: one file for models of up to some ten billion parameters in 4 bits. */
const DEFAULT_SHARD_BYTES = 5_000_000_000;

/** Files of a model folder that a reader of the export needs as they are. */
const COPIED = new Set([
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'tokenizer.model',
  'vocab.json',
  'merges.txt',
]);

async function folderPlan(
  format: ExportFormat,
  source: ExportSource,
  contents: FolderContents,
  { shardBytes }: FormatOptions,
): Promise<FormatPlan> {
  if (contents.obstacle !== null) return impossible(format, contents.obstacle);
  const { folder, config } = source.model;
  const licences = await licenceOf(folder);
  const copied = (await readdir(folder)).filter((name) => COPIED.has(name) || licences.files.includes(name)).sort();
  const sizes = await Promise.all(copied.map(async (name) => (await stat(path.join(folder, name))).size));
  const weights = contents.exports.reduce((sum, { bytes }) => sum + bytes, 0);
  const files: PlannedFile[] = [
    ...weightFiles(contents.tensors, shardBytes ?? DEFAULT_SHARD_BYTES),
    textFile('config.json', jsonText(changedConfig(config, contents.config))),
    ...copied.map((name) => ({
      name,
      write: (file: string, { fileSystem }: Destination) => fileSystem.copyExclusive(path.join(folder, name), file),
    })),
  ];
  return {
    format,
    obstacle: null,
    tensors: contents.exports,
    bytes: weights + sizes.reduce((a, b) => a + b, 0),
    warnings: contents.warnings,
    files,
  };
}

/** transformers 5 says `dtype` where earlier versions say `torch_dtype`. */
function changedConfig(
  config: Readonly<Record<string, unknown>>,
  changes: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const changed: Record<string, unknown> = { ...config, ...changes };
  if ('dtype' in config && 'torch_dtype' in changes) {
    changed['dtype'] = changes['torch_dtype'];
    if (!('torch_dtype' in config)) delete changed['torch_dtype'];
  }
  return changed;
}

/** One file, or several of about this many bytes with an index of what lies where, named as transformers names them. */
function weightFiles(tensors: readonly TensorToWrite[], shardBytes: number): PlannedFile[] {
  const shards = shardsOf(tensors, shardBytes);
  const last = String(shards.length).padStart(5, '0');
  const name = (i: number): string =>
    shards.length === 1 ? 'model.safetensors' : `model-${String(i + 1).padStart(5, '0')}-of-${last}.safetensors`;
  const files = shards.map((members, i): PlannedFile => ({
    name: name(i),
    write: (file, { meter, fileSystem }) =>
      writeSafetensors(file, counted(members, meter), { metadata: { format: 'pt' }, fileSystem }),
  }));
  if (shards.length === 1) return files;
  const index = {
    metadata: { total_size: tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0) },
    weight_map: Object.fromEntries(shards.flatMap((members, i) => members.map((tensor) => [tensor.name, name(i)]))),
  };
  return [...files, textFile('model.safetensors.index.json', jsonText(index))];
}

function textFile(name: string, text: string): PlannedFile {
  return { name, write: (file, { fileSystem }) => writeFileAtomic(fileSystem, file, text) };
}

function counted(tensors: readonly TensorToWrite[], meter: Meter): TensorToWrite[] {
  return tensors.map((tensor) => ({ ...tensor, data: () => meter.count(parts(tensor)) }));
}

async function* parts({ data }: TensorToWrite): AsyncIterable<Uint8Array> {
  const given = typeof data === 'function' ? data() : data;
  if (Symbol.asyncIterator in given) {
    for await (const part of given) yield bytesOf(part);
  } else yield bytesOf(await given);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
