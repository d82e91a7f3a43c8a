// The base of a run: s0, z0 and Φ0, which never change. Only s0 and z0 are stored (base/scales.safetensors: `L` the scales of
// linear L, `L.zeroPoints` the unrounded zero points of an asymmetric one), with a digest over all: Φ0 follows from them and
// the model folder, and the digest tells whether it still does.

import path from 'node:path';
import { existsSync } from 'node:fs';
import type { Engine, LinearQuantization, LoadProgress } from '../../native/binding/addon';
import { UserError } from '../errors';
import type { FileSystem } from '../formats/file-system';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors } from '../formats/safetensors-writer';

/** End of the names of tensors that hold zero points. */
const ZERO_POINTS = '.zeroPoints';

export function baseFolder(runDirectory: string): string {
  return path.join(runDirectory, 'base');
}

function scalesFile(runDirectory: string): string {
  return path.join(baseFolder(runDirectory), 'scales.safetensors');
}

export interface LoadBaseOptions {
  readonly engine: Pick<Engine, 'load' | 'initialScales' | 'initialZeroPoints' | 'baseDigest'>;
  readonly runDirectory: string;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly modelFolder: string;
  /** null: read only; a base found by search is then not stored. */
  readonly fileSystem: FileSystem | null;
  readonly onProgress?: (progress: LoadProgress) => void;
}

/**
 * Loads the engine: with the stored s0, or by range search, which is stored then.
 * @returns the digest of Φ0 and s0
 * @throws UserError BaseChanged when the stored s0 no longer give the stored digest
 */
export async function loadBase(options: LoadBaseOptions): Promise<string> {
  const { engine, runDirectory, fileSystem, onProgress } = options;
  const progress = onProgress === undefined ? {} : { onProgress };
  const file = scalesFile(runDirectory);
  if (!existsSync(file)) {
    await engine.load(progress);
    const digest = await engine.baseDigest();
    if (fileSystem !== null) await storeBase(options, fileSystem, file, digest);
    return digest;
  }
  const stored = await readBase(file);
  await engine.load({ scales: stored.scales, zeroPoints: stored.zeroPoints, ...progress });
  const digest = await engine.baseDigest();
  if (digest !== stored.digest) {
    throw new UserError('BaseChanged', `${options.modelFolder}: not the weights that this run was started with`, {
      hint: `Restore the model folder, or start a new run (Φ0 and s0 have digest ${short(digest)}, stored is ${short(stored.digest)}).`,
    });
  }
  return digest;
}

async function storeBase(
  { engine, linears, runDirectory }: LoadBaseOptions,
  fileSystem: FileSystem,
  file: string,
  digest: string,
): Promise<void> {
  const tensor = async (name: string, values: Promise<Float32Array>) => {
    const data = await values;
    return { name, dtype: 'F32' as const, shape: [data.length], data };
  };
  const tensors = await Promise.all(
    Object.entries(linears).flatMap(([name, spec]) => [
      ...(spec === null ? [] : [tensor(name, engine.initialScales(name))]),
      ...(spec?.symmetric === false ? [tensor(name + ZERO_POINTS, engine.initialZeroPoints(name))] : []),
    ]),
  );
  await fileSystem.mkdir(baseFolder(runDirectory));
  await writeSafetensors(file, tensors, { fileSystem, metadata: { format: 'lrqat-base', digest } });
  await fileSystem.syncFolder(runDirectory);
}

interface StoredBase {
  readonly scales: Record<string, Float32Array>;
  readonly zeroPoints: Record<string, Float32Array>;
  readonly digest: string;
}

async function readBase(file: string): Promise<StoredBase> {
  const opened = await SafetensorsFile.open(file);
  try {
    const digest = opened.metadata['digest'];
    if (digest === undefined) throw new UserError('DamagedFile', `${file}: has no digest`);
    const scales: Record<string, Float32Array> = {};
    const zeroPoints: Record<string, Float32Array> = {};
    for (const name of opened.tensors.keys()) {
      const values = await opened.readTensorAs(name, 'F32');
      if (name.endsWith(ZERO_POINTS)) zeroPoints[name.slice(0, -ZERO_POINTS.length)] = values;
      else scales[name] = values;
    }
    return { scales, zeroPoints, digest };
  } finally {
    await opened.close();
  }
}

function short(digest: string): string {
  return digest.slice(0, 12);
}
