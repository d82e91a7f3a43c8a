// Exporting a run: plan, write, manifest and card. Work of the command line and, through it, of the editor.
import path from 'node:path';
import { UserError } from '../../errors';
import { nodeFileSystem } from '../../formats';
import { temporaryName, type FileSystem } from '../../formats/file-system';
import { hashing, type HashingFiles } from '../../formats/hashing-files';
import { describeLosses, isExact } from '../../formats/tensor-export';
import { readNotes, slug } from '../../runs';
import { EXPORT_FORMATS, LOADED_BY, type ExportFormat, type FormatPlan, type Planner } from './formats';
import { writeCard, writeManifest, type ExportedFile } from './manifest';
import { measureExport } from './measure-export';
import { Meter } from './meter';
import { requireFree, writeFolder } from './output';
import { planCompressed, planGptqExport, planHuggingFace, planOwn } from './plan-folder';
import { planGgufExport } from './plan-gguf';
import type { PerplexityChange } from './perplexity-change';
import { openSource, type ExportSource } from './source';

const PLANNERS: Readonly<Record<ExportFormat, Planner>> = {
  gguf: planGgufExport,
  huggingface: planHuggingFace,
  'compressed-tensors': planCompressed,
  gptq: planGptqExport,
  'lr-qat': planOwn,
};

export interface ExportOptions {
  readonly run: string;
  readonly format: ExportFormat;
  /** Absolute path of what is written: a folder, or a file that ends in `.gguf`. */
  readonly out: string;
  /** Replace an earlier export. */
  readonly force?: boolean;
  readonly checkpoint?: number;
  readonly type?: string;
  readonly floatType?: 'F32' | 'F16' | 'BF16';
  /** Of a file of weights in a folder, about; default: 5 GB. */
  readonly shardBytes?: number;
  /** Of an export that rounds, measure before writing what that does to perplexity. */
  readonly measure?: boolean;
  /** Hears what was measured, before anything is written. */
  readonly onMeasured?: (change: PerplexityChange) => void;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
  readonly fileSystem?: FileSystem;
}

export interface Exported {
  readonly format: ExportFormat;
  readonly path: string;
  /** All numbers that a reader gets are those that were trained. */
  readonly exact: boolean;
  /** What is lost, tensor kinds together; empty when exact. */
  readonly losses: readonly string[];
  /** What the losses do to perplexity; null: nothing is lost, or not measured. */
  readonly perplexity: PerplexityChange | null;
  readonly warnings: readonly string[];
  readonly files: readonly ExportedFile[];
  readonly bytes: number;
  readonly seconds: number;
}

/** @throws UserError; AbortError after `signal`. Either leaves nothing behind */
export async function exportRun(options: ExportOptions): Promise<Exported> {
  const { format, out, force = false, signal, onProgress } = options;
  if (format !== 'gguf' && isGgufFile(out)) {
    throw new UserError('BadOutput', `--out ${out}: an export of format ${format} is a folder`);
  }
  await requireFree(out, force);
  const source = await openSource(options.run, options);
  try {
    const plan = await planFormat(source, format, options);
    if (plan.obstacle !== null) throw new UserError('FormatUnavailable', `${format}: ${plan.obstacle}`);
    const change = await changeOf(source, plan, options);
    const begun = performance.now();
    const meter = new Meter(plan.bytes, (done, total) => onProgress?.('writing', done, total), signal ?? null);
    const files = hashing(options.fileSystem ?? nodeFileSystem);
    const written = await write(source, plan, change, { out, force, meter, files, signal: signal ?? null });
    return {
      format,
      path: out,
      exact: isExact(plan.tensors),
      losses: describeLosses(plan.tensors),
      perplexity: change,
      warnings: plan.warnings,
      files: written,
      bytes: written.reduce((sum, { bytes }) => sum + bytes, 0),
      seconds: (performance.now() - begun) / 1000,
    };
  } finally {
    await source.close();
  }
}

/** What an export would do to perplexity, with nothing written.
 *  @returns null where nothing is lost
 *  @throws UserError; AbortError after `signal` */
export async function measureOnly(
  options: Omit<ExportOptions, 'out' | 'force' | 'measure'>,
): Promise<PerplexityChange | null> {
  const source = await openSource(options.run, options);
  try {
    const plan = await planFormat(source, options.format, options);
    if (plan.obstacle !== null) throw new UserError('FormatUnavailable', `${options.format}: ${plan.obstacle}`);
    return await changeOf(source, plan, { ...options, measure: true });
  } finally {
    await source.close();
  }
}

async function changeOf(
  source: ExportSource,
  plan: FormatPlan,
  {
    measure = false,
    onMeasured,
    onProgress,
    signal,
  }: Pick<ExportOptions, 'measure' | 'onMeasured' | 'onProgress' | 'signal'>,
): Promise<PerplexityChange | null> {
  if (!measure || isExact(plan.tensors)) return null;
  const change = await measureExport(source, plan, {
    signal: signal ?? null,
    onProgress: (phase, done, total) => onProgress?.(phase, done, total),
  });
  onMeasured?.(change);
  return change;
}

/** What every format would do, for a picker. */
export interface FormatOffer {
  readonly format: ExportFormat;
  readonly loadedBy: string;
  readonly obstacle: string | null;
  readonly exact: boolean;
  readonly losses: readonly string[];
  readonly warnings: readonly string[];
  readonly bytes: number;
  /** How the quantized linears are stored: `Q4_0`, `Q2_K and Q4_0`. */
  readonly stored: string;
}

export async function offerFormats(
  options: Pick<ExportOptions, 'run' | 'checkpoint' | 'signal' | 'onProgress'>,
): Promise<FormatOffer[]> {
  const source = await openSource(options.run, options);
  try {
    const offers: FormatOffer[] = [];
    for (const format of EXPORT_FORMATS) {
      options.signal?.throwIfAborted();
      const plan = await planFormat(source, format, {});
      offers.push({
        format,
        loadedBy: LOADED_BY[format],
        obstacle: plan.obstacle,
        exact: plan.obstacle === null && isExact(plan.tensors),
        losses: describeLosses(plan.tensors),
        warnings: plan.warnings,
        bytes: plan.bytes,
        stored: storedAs(source, plan),
      });
    }
    return offers;
  } finally {
    await source.close();
  }
}

async function planFormat(
  source: ExportSource,
  format: ExportFormat,
  { type, floatType, shardBytes }: Pick<ExportOptions, 'type' | 'floatType' | 'shardBytes'>,
): Promise<FormatPlan> {
  const name = slug((await readNotes(source.runDirectory)).name ?? source.experiment.name);
  return PLANNERS[format](source, {
    name,
    ...(type === undefined ? {} : { type }),
    ...(floatType === undefined ? {} : { floatType }),
    ...(shardBytes === undefined ? {} : { shardBytes }),
  });
}

function isGgufFile(out: string): boolean {
  return out.toLowerCase().endsWith('.gguf');
}

interface WriteOptions {
  readonly out: string;
  readonly force: boolean;
  readonly meter: Meter;
  readonly files: HashingFiles;
  readonly signal: AbortSignal | null;
}

async function write(
  source: ExportSource,
  plan: FormatPlan,
  change: PerplexityChange | null,
  { out, force, meter, files: to, signal }: WriteOptions,
): Promise<readonly ExportedFile[]> {
  const { fileSystem } = to;
  const fill = async (folder: string): Promise<readonly ExportedFile[]> => {
    for (const { name, write: writeFile } of plan.files) {
      signal?.throwIfAborted();
      await writeFile(path.join(folder, name), { fileSystem, meter });
    }
    await writeCard(fileSystem, folder, source, plan, change);
    return writeManifest(to, folder, source, plan, change, signal);
  };
  let files: readonly ExportedFile[] = [];
  if (!isGgufFile(out)) {
    await writeFolder(fileSystem, out, force, async (folder) => {
      files = await fill(folder);
    });
    return files;
  }
  // A single file: made in a hidden folder like the others; its card and manifest go beside it under its name, itself last.
  const folder = temporaryName(out);
  await fileSystem.mkdir(folder);
  try {
    files = await fill(folder);
    const model = plan.files[0]?.name ?? '';
    for (const { name } of [...files].sort((one) => (one.name === model ? 1 : -1))) {
      await fileSystem.rename(path.join(folder, name), name === model ? out : `${out}.${name}`);
    }
    await fileSystem.syncFolder(path.dirname(out));
  } finally {
    await fileSystem.removeTree(folder);
  }
  return files;
}

function storedAs({ merged }: ExportSource, { tensors }: FormatPlan): string {
  const kinds = new Set(
    tensors.flatMap(({ name, stored }) => (merged.quantized.has(name.replace(/\.weight$/, '')) ? [stored] : [])),
  );
  return [...kinds].join(', ');
}
