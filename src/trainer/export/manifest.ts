// What lies beside exported weights: manifest.json with the hash of every file, and README.md, the model card.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { version } from '../../../package.json';
import { nodeFileSystem, writeFileAtomic } from '../../formats/file-system';
import { sha256OfFile } from '../../formats/file-hash';
import { isObject } from '../../formats/show-value';
import { isExact } from '../../formats/tensor-export';
import { runPaths } from '../../runs';
import { jsonText, readJson } from '../../runs/json-file';
import { modelCard } from './model-card';
import { MANIFEST_FILE, MANIFEST_KIND } from './output';
import type { FormatPlan } from './formats';
import type { ExportSource } from './source';

export interface ExportedFile {
  readonly name: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

const CARD_FILE = 'README.md';

export async function writeCard(folder: string, source: ExportSource, plan: FormatPlan): Promise<void> {
  await writeFileAtomic(nodeFileSystem, path.join(folder, CARD_FILE), await modelCard(source, plan));
}

/** Hashes all files of the folder as they are on the disk and writes the manifest.
 *  @returns them, the manifest last */
export async function writeManifest(
  folder: string,
  source: ExportSource,
  plan: FormatPlan,
  signal?: AbortSignal,
): Promise<readonly ExportedFile[]> {
  const files: ExportedFile[] = [];
  for (const name of (await readdir(folder)).sort()) files.push(await exported(folder, name, signal));
  const provenance = await readJson(runPaths(source.runDirectory).provenance).catch(() => undefined);
  const manifest = {
    kind: MANIFEST_KIND,
    schema: 1,
    created: Date.now(),
    program: `LR-QAT Studio ${version}`,
    format: plan.format,
    exact: isExact(plan.tensors),
    run: path.basename(source.runDirectory),
    checkpointStep: source.checkpointStep,
    baseModel: path.basename(source.model.folder),
    hashes: isObject(provenance) ? withoutFolders(provenance['hashes']) : null,
    tensors: plan.tensors,
    files,
  };
  await writeFileAtomic(nodeFileSystem, path.join(folder, MANIFEST_FILE), jsonText(manifest));
  return [...files, await exported(folder, MANIFEST_FILE, signal)];
}

async function exported(folder: string, name: string, signal?: AbortSignal): Promise<ExportedFile> {
  const file = path.join(folder, name);
  return { name, bytes: (await stat(file)).size, sha256: await sha256OfFile(file, signal) };
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
