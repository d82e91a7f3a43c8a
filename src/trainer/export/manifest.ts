// What lies beside exported weights: manifest.json with the hash of every file, and README.md, the model card.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { version } from '../../../package.json';
import { writeFileAtomic, type FileSystem } from '../../formats/file-system';
import { sha256OfFile } from '../../formats/file-hash';
import type { HashingFiles, WrittenFile } from '../../formats/hashing-files';
import { isObject } from '../../formats/show-value';
import { isExact } from '../../formats/tensor-export';
import { runPaths } from '../../runs';
import { jsonText, readJson } from '../../runs/json-file';
import { modelCard } from './model-card';
import { CARD_FILE, MANIFEST_FILE, MANIFEST_KIND } from './output';
import type { FormatPlan } from './formats';
import type { PerplexityChange } from './perplexity-change';
import type { ExportSource } from './source';

export interface ExportedFile extends WrittenFile {
  readonly name: string;
}

export async function writeCard(
  fileSystem: FileSystem,
  folder: string,
  source: ExportSource,
  plan: FormatPlan,
  change: PerplexityChange | null,
): Promise<void> {
  await writeFileAtomic(fileSystem, path.join(folder, CARD_FILE), await modelCard(source, plan, change));
}

/** Writes the manifest with the hashes of all files of the folder: of those just written as they were written, of copies as they
 *  are on the disk.
 *  @returns them, the manifest last */
export async function writeManifest(
  { fileSystem, written }: HashingFiles,
  folder: string,
  source: ExportSource,
  plan: FormatPlan,
  change: PerplexityChange | null,
  signal: AbortSignal | null,
): Promise<readonly ExportedFile[]> {
  const exported = async (name: string): Promise<ExportedFile> => {
    const file = path.join(folder, name);
    const { bytes, sha256 } = written(file) ?? {
      bytes: (await stat(file)).size,
      sha256: await sha256OfFile(file, signal ?? undefined),
    };
    return { name, bytes, sha256 };
  };
  const files: ExportedFile[] = [];
  for (const name of (await readdir(folder)).sort()) files.push(await exported(name));
  const provenance = await readJson(runPaths(source.runDirectory).provenance).catch(() => undefined);
  const manifest = {
    kind: MANIFEST_KIND,
    schema: 1,
    created: Date.now(),
    program: `LR-QAT Studio ${version}`,
    format: plan.format,
    exact: isExact(plan.tensors),
    perplexity: change,
    run: path.basename(source.runDirectory),
    checkpointStep: source.checkpointStep,
    baseModel: path.basename(source.model.folder),
    hashes: isObject(provenance) ? withoutFolders(provenance['hashes']) : null,
    tensors: plan.tensors,
    files,
  };
  await writeFileAtomic(fileSystem, path.join(folder, MANIFEST_FILE), jsonText(manifest));
  return [...files, await exported(MANIFEST_FILE)];
}

/** Hashes of the run's inputs, whose places are of no use elsewhere. */
function withoutFolders(hashes: unknown): unknown {
  if (!isObject(hashes)) return null;
  return Object.fromEntries(
    Object.entries(hashes).map(([kind, list]) => [
      kind,
      Array.isArray(list)
        ? list.filter(isObject).map((entry) => ({
            ...entry,
            file: typeof entry['file'] === 'string' ? path.basename(entry['file']) : null,
          }))
        : null,
    ]),
  );
}
