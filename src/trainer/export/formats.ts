// The formats a run can be exported to, and for each what it would do to this run.
import type { FileSystem } from '../../formats/file-system';
import type { TensorExport } from '../../formats/tensor-export';
import type { Meter } from './meter';
import type { ExportSource } from './source';

export const EXPORT_FORMATS = ['gguf', 'huggingface', 'compressed-tensors', 'gptq', 'lr-qat'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Who loads it, in a few words for a table. */
export const LOADED_BY: Readonly<Record<ExportFormat, string>> = {
  gguf: 'llama.cpp, Ollama, LM Studio',
  huggingface: 'transformers and all that reads its folders',
  'compressed-tensors': 'vLLM, SGLang, transformers',
  gptq: 'vLLM, SGLang, transformers, GPTQModel, ExLlama',
  'lr-qat': 'programs of your own: its layout is documented',
};

export interface FormatOptions {
  /** Name of the model in the file. */
  readonly name: string;
  /** Type of the quantized linears, where the format has several: a GGUF type; fp32, fp16 or bf16 of a Hugging Face folder. */
  readonly type?: string;
  /** Type of embedding, head and linears that are not quantized; default: as in the model. */
  readonly floatType?: 'F32' | 'F16' | 'BF16';
  /** Of a file of weights in a folder, about; a tensor is never split. */
  readonly shardBytes?: number;
}

/** A file of an export, made in the folder it is given. */
export interface PlannedFile {
  readonly name: string;
  readonly write: (file: string, to: Destination) => Promise<void>;
}

export interface Destination {
  readonly fileSystem: FileSystem;
  readonly meter: Meter;
}

export interface FormatPlan {
  readonly format: ExportFormat;
  /** Why it cannot be written; null: it can. */
  readonly obstacle: string | null;
  /** By parameter. */
  readonly tensors: readonly TensorExport[];
  /** Of all files together. */
  readonly bytes: number;
  /** What a reader does otherwise than the trainer, beside the numbers themselves. */
  readonly warnings: readonly string[];
  readonly files: readonly PlannedFile[];
}

export type Planner = (source: ExportSource, options: FormatOptions) => Promise<FormatPlan>;

export function impossible(format: ExportFormat, obstacle: string): FormatPlan {
  return { format, obstacle, tensors: [], bytes: 0, warnings: [], files: [] };
}
