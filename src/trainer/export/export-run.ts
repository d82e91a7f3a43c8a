// Exporting a run: plan, write, manifest and card. Work of the command line and, through it, of the editor.
import os from 'node:os';
import path from 'node:path';
import { UserError } from '../../errors';
import { activationName, staticRangesOf } from '../../experiment';
import { nodeFileSystem } from '../../formats';
import type { FileSystem } from '../../formats/file-system';
import { hashing, type HashingFiles } from '../../formats/hashing-files';
import { describeLosses, isExact } from '../../formats/tensor-export';
import { readNotes, slug } from '../../runs';
import { EXPORT_FORMATS, LOADED_BY, type ExportFormat, type FormatPlan, type Planner } from './formats';
import { writeCard, writeManifest, type ExportedFile } from './manifest';
import { tokenCacheFolder } from '../prepare';
import { measureExport } from './measure-export';
import { Meter } from './meter';
import { isGgufFile, placeFile, placeFolder, requireFree } from './output';
import { planCompressed, planGptqExport, planHuggingFace, planOwn } from './plan-folder';
import { planGgufExport } from './plan-gguf';
import type { PerplexityChange } from './perplexity-change';
import { isWritable, removeAbandoned, Scratch, type ScratchOptions } from './scratch';
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
  readonly freeBytes?: ScratchOptions['freeBytes'];
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
  const { format, out, force = false, onProgress, fileSystem = nodeFileSystem } = options;
  const signal = options.signal ?? null;
  if (format !== 'gguf' && isGgufFile(out)) {
    throw new UserError('BadOutput', `--out ${out}: an export of format ${format} is a folder`);
  }
  await removeAbandoned(out, fileSystem);
  await requireFree(out, force);
  const scratch = new Scratch(out, scratchOptions(options));
  try {
    const source = await openSource(options.run, scratch, options);
    const plan = await planFormat(source, format, options);
    if (plan.obstacle !== null) throw new UserError('FormatUnavailable', `${format}: ${plan.obstacle}`);
    const change = await changeOf(source, scratch, plan, options);
    const begun = performance.now();
    const meter = new Meter(plan.bytes, (done, total) => onProgress?.('writing', done, total), signal);
    const files = await write(source, plan, change, { out, force, meter, files: hashing(fileSystem), signal, scratch });
    return {
      format,
      path: out,
      exact: isExact(plan.tensors),
      losses: describeLosses(plan.tensors),
      perplexity: change,
      warnings: plan.warnings,
      files,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      seconds: (performance.now() - begun) / 1000,
    };
  } finally {
    await scratch.remove();
  }
}

/** What an export would do to perplexity, with nothing written.
 *  @returns null where nothing is lost
 *  @throws UserError; AbortError after `signal` */
export async function measureOnly(
  options: Omit<ExportOptions, 'out' | 'force' | 'measure'>,
): Promise<PerplexityChange | null> {
  const scratch = await scratchOfRun(options);
  try {
    const source = await openSource(options.run, scratch, options);
    const plan = await planFormat(source, options.format, options);
    if (plan.obstacle !== null) throw new UserError('FormatUnavailable', `${options.format}: ${plan.obstacle}`);
    return await changeOf(source, scratch, plan, { ...options, measure: true });
  } finally {
    await scratch.remove();
  }
}

type PlaceOptions = Pick<ExportOptions, 'fileSystem' | 'freeBytes'>;

function scratchOptions({ fileSystem = nodeFileSystem, freeBytes }: PlaceOptions): ScratchOptions {
  return { fileSystem, ...(freeBytes === undefined ? {} : { freeBytes }) };
}

/** For what writes no export: beside the cache of the run's tokens, which is what can be made again as well. */
async function scratchOfRun(options: PlaceOptions & Pick<ExportOptions, 'run'>): Promise<Scratch> {
  const cache = path.dirname(tokenCacheFolder(options.run));
  // Somebody else's runs can be read only.
  const place = path.join((await isWritable(cache)) ? cache : os.tmpdir(), 'lrqat-export');
  const { fileSystem } = scratchOptions(options);
  await removeAbandoned(place, fileSystem);
  return new Scratch(place, scratchOptions(options));
}

async function changeOf(
  source: ExportSource,
  scratch: Scratch,
  plan: FormatPlan,
  {
    measure = false,
    onMeasured,
    onProgress,
    signal,
  }: Pick<ExportOptions, 'measure' | 'onMeasured' | 'onProgress' | 'signal'>,
): Promise<PerplexityChange | null> {
  if (!measure || isExact(plan.tensors)) return null;
  const change = await measureExport(source, scratch, plan, {
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
  const scratch = await scratchOfRun(options);
  try {
    const source = await openSource(options.run, scratch, options);
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
    await scratch.remove();
  }
}

async function planFormat(
  source: ExportSource,
  format: ExportFormat,
  { type, floatType, shardBytes }: Pick<ExportOptions, 'type' | 'floatType' | 'shardBytes'>,
): Promise<FormatPlan> {
  const name = slug((await readNotes(source.runDirectory)).name ?? source.experiment.name);
  const plan = await PLANNERS[format](source, {
    name,
    ...(type === undefined ? {} : { type }),
    ...(floatType === undefined ? {} : { floatType }),
    ...(shardBytes === undefined ? {} : { shardBytes }),
  });
  return { ...plan, warnings: [...plan.warnings, ...activationWarnings(source)] };
}

function activationWarnings({ experiment }: ExportSource): string[] {
  const name = activationName(experiment);
  if (name === null) return [];
  const weights = `activations were quantized in training (${name}); exports hold weights alone, quantizing activations is the business of what runs them`;
  if (staticRangesOf(experiment) === null) return [weights];
  return [
    `${weights}. No format here has a place for static ranges: those of this run are in its merged.safetensors ("activations.ranges" and, where they are learned, "activations.scale" and "activations.zeroPoint")`,
  ];
}

interface WriteOptions {
  readonly out: string;
  readonly force: boolean;
  readonly meter: Meter;
  readonly files: HashingFiles;
  readonly signal: AbortSignal | null;
  readonly scratch: Scratch;
}

async function write(
  source: ExportSource,
  plan: FormatPlan,
  change: PerplexityChange | null,
  { out, force, meter, files: to, signal, scratch }: WriteOptions,
): Promise<readonly ExportedFile[]> {
  const { fileSystem } = to;
  const folder = await scratch.path('files', plan.bytes, 'the export');
  await fileSystem.mkdir(folder);
  for (const { name, write: writeFile } of plan.files) {
    signal?.throwIfAborted();
    await writeFile(path.join(folder, name), { fileSystem, meter });
  }
  await writeCard(fileSystem, folder, source, plan, change);
  const files = await writeManifest(to, folder, source, plan, change, signal);
  // Somebody may have taken the place meanwhile.
  await requireFree(out, force);
  if (isGgufFile(out)) await placeFile(fileSystem, folder, plan.files[0]?.name ?? '', out);
  else await placeFolder(fileSystem, folder, out);
  return files;
}

function storedAs({ merged }: ExportSource, { tensors }: FormatPlan): string {
  const kinds = new Set(
    tensors.flatMap(({ name, stored }) => (merged.quantized.has(name.replace(/\.weight$/, '')) ? [stored] : [])),
  );
  return [...kinds].join(', ');
}
