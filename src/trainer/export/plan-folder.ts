// A run as a Hugging Face folder: model.safetensors in one of several layouts, config.json with what changes, everything else of the
// model folder that belongs to the tokenizer or the licence as it is.
import { copyFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../../errors';
import { writeSafetensors, type TensorToWrite } from '../../formats';
import { planCompressedTensors } from '../../formats/compressed-tensors';
import { planDequantized } from '../../formats/dequantized-model';
import { nodeFileSystem, writeFileAtomic } from '../../formats/file-system';
import type { FolderContents } from '../../formats/folder-export';
import { planGptq } from '../../formats/gptq';
import { planPackedIntegers } from '../../formats/packed-integers';
import type { WeightDType } from '../../formats/model-shape';
import { jsonText } from '../../runs/json-file';
import {
  impossible,
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
  folderPlan('huggingface', source, await planDequantized(source.merged, dequantizedType(options)));

export const planCompressed: Planner = async (source, options) => {
  refuseType('compressed-tensors', options);
  return folderPlan('compressed-tensors', source, await planCompressedTensors(source.merged));
};

export const planGptqExport: Planner = async (source, options) => {
  refuseType('gptq', options);
  return folderPlan('gptq', source, await planGptq(source.merged));
};

export const planOwn: Planner = async (source, options) => {
  refuseType('lr-qat', options);
  return folderPlan('lr-qat', source, await planPackedIntegers(source.merged));
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

async function folderPlan(format: ExportFormat, source: ExportSource, contents: FolderContents): Promise<FormatPlan> {
  if (contents.obstacle !== null) return impossible(format, contents.obstacle);
  const { folder, config } = source.model;
  const licences = await licenceOf(folder);
  const copied = (await readdir(folder)).filter((name) => COPIED.has(name) || licences.files.includes(name)).sort();
  const sizes = await Promise.all(copied.map(async (name) => (await stat(path.join(folder, name))).size));
  const weights = contents.exports.reduce((sum, { bytes }) => sum + bytes, 0);
  const files: PlannedFile[] = [
    {
      name: 'model.safetensors',
      write: (file, meter) => writeSafetensors(file, counted(contents.tensors, meter), { metadata: { format: 'pt' } }),
    },
    {
      name: 'config.json',
      write: (file) => writeFileAtomic(nodeFileSystem, file, jsonText(changedConfig(config, contents.config))),
    },
    ...copied.map((name) => ({ name, write: (file: string) => copyFile(path.join(folder, name), file) })),
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
