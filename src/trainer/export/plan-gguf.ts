// A run as one GGUF file.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode, UserError } from '../../errors';
import { ggufSize, writeGguf, type GgufTensor, type GgufValue } from '../../formats/gguf-file';
import { string } from '../../formats/gguf-metadata';
import { GGUF_TYPES, ggufObstacle, planGguf, type GgufType } from '../../formats/gguf-model';
import { ggufTokenizer, type TokenizerFiles } from '../../formats/gguf-tokenizer';
import { readJsonDocument } from '../../formats/json-document';
import { isObject } from '../../formats/show-value';
import { impossible, type FormatOptions, type FormatPlan } from './formats';
import { licenceOf } from './licence';
import type { Meter } from './meter';
import type { ExportSource } from './source';

const MAX_TOKENIZER_BYTES = 200_000_000;

export async function planGgufExport(source: ExportSource, options: FormatOptions): Promise<FormatPlan> {
  const obstacle = ggufObstacle(source.model.shape);
  if (obstacle !== null) return impossible('gguf', obstacle);
  let tokenizer;
  try {
    tokenizer = ggufTokenizer(await tokenizerFiles(source), source.model.shape.vocabSize);
  } catch (error) {
    if (error instanceof UserError && error.code === 'TokenizerUnsupported') return impossible('gguf', error.message);
    throw error;
  }
  const licence = await licenceOf(source.model.folder);
  const plan = await planGguf(source.merged, {
    type: ggufType(options.type),
    floatType: options.floatType ?? null,
    name: options.name,
    pairs: [
      ...(licence.id === null ? [] : ([['general.license', string(licence.id)]] as [string, GgufValue][])),
      ['general.quantized_by', string('LR-QAT Studio')],
      ...tokenizer.pairs,
    ],
  });
  const { metadata, tensors, exports, warnings } = plan;
  return {
    format: 'gguf',
    obstacle: null,
    tensors: exports,
    bytes: ggufSize(metadata, tensors),
    warnings: [...warnings, ...tokenizer.warnings],
    files: [
      {
        name: `${options.name}.gguf`,
        write: (file, { meter, fileSystem }) => writeGguf(file, metadata, counted(tensors, meter), fileSystem),
      },
    ],
  };
}

function counted(tensors: readonly GgufTensor[], meter: Meter): GgufTensor[] {
  return tensors.map((tensor) => ({ ...tensor, data: () => meter.count(tensor.data()) }));
}

function ggufType(text: string | undefined): GgufType | null {
  if (text === undefined) return null;
  const type = GGUF_TYPES.find((name) => name.toLowerCase() === text.toLowerCase());
  if (type !== undefined) return type;
  throw new UserError('UnknownType', `--type ${text}: not a type of GGUF that is written here`, {
    hint: `Types: ${GGUF_TYPES.join(', ')}; without --type each linear gets the smallest that holds its integers.`,
  });
}

async function tokenizerFiles({ model }: ExportSource): Promise<TokenizerFiles> {
  const at = (name: string): string => path.join(model.folder, name);
  const config = await readJsonDocument(at('tokenizer_config.json'), MAX_TOKENIZER_BYTES);
  return {
    tokenizer: await readJsonDocument(model.tokenizerFile, MAX_TOKENIZER_BYTES),
    tokenizerConfig: isObject(config) ? config : {},
    modelConfig: model.config,
    chatTemplate: (await optionalText(at('chat_template.jinja'))) ?? (await templateOf(at('chat_template.json'))),
    file: model.tokenizerFile,
  };
}

async function templateOf(file: string): Promise<string | null> {
  const document = await readJsonDocument(file, MAX_TOKENIZER_BYTES);
  const template = isObject(document) ? document['chat_template'] : undefined;
  return typeof template === 'string' ? template : null;
}

async function optionalText(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw error;
  }
}
