// The base of a run: s0, z0 and Φ0, which never change. Only s0 and z0 are stored (base/scales.safetensors: `L` the scales of
// linear L, `L.zeroPoints` the unrounded zero points of an asymmetric one), with a digest over all: Φ0 follows from them and
// the model folder, and the digest tells whether it still does. A start other than round-to-nearest stores its packed Φ0 as well
// (`L.phi0`), A and B where it has found them (`L.a`, `L.b`), and a fingerprint of the weights that it was found for.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { Engine, LinearQuantization, LoadProgress, StoredTensor } from '../../native/binding/addon';
import { UserError } from '../errors';
import type { HuggingFaceModel } from '../formats';
import type { FileSystem } from '../formats/file-system';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors, type TensorToWrite } from '../formats/safetensors-writer';

/** End of the names of tensors that hold zero points. */
const ZERO_POINTS = '.zeroPoints';
/** And of those that hold packed Φ0. */
const PHI0 = '.phi0';
/** A and B of a start that has found them. */
const FACTORS = { a: '.a', b: '.b' } as const;

export function baseFolder(runDirectory: string): string {
  return path.join(runDirectory, 'base');
}

function scalesFile(runDirectory: string): string {
  return path.join(baseFolder(runDirectory), 'scales.safetensors');
}

export interface LoadBaseOptions {
  readonly engine: Pick<
    Engine,
    'load' | 'initialScales' | 'initialZeroPoints' | 'phi0' | 'baseDigest' | 'readState' | 'writeState'
  >;
  readonly runDirectory: string;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly model: Pick<HuggingFaceModel, 'folder' | 'tensors'>;
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
  const { engine, runDirectory, fileSystem, model, linears, onProgress } = options;
  const progress = onProgress === undefined ? {} : { onProgress };
  const file = scalesFile(runDirectory);
  if (!existsSync(file)) {
    await engine.load(progress);
    const digest = await engine.baseDigest();
    if (fileSystem !== null)
      await storeBase({ engine, linears, runDirectory, fileSystem, digest, started: null, withFactors: false });
    return digest;
  }
  const stored = await readBase(file);
  const { scales, zeroPoints, phi0, factors, started } = stored;
  await engine.load({ scales, zeroPoints, ...(started === null ? {} : { phi0 }), ...progress });
  for (const { linear, kind, values } of factors) await engine.writeState(linear, kind, 'value', values);
  const digest = await engine.baseDigest();
  const sameWeights = started === null || started === (await weightsFingerprint(model, linears));
  if (digest !== stored.digest || !sameWeights) {
    throw new UserError('BaseChanged', `${model.folder}: not the weights that this run was started with`, {
      hint: `Restore the model folder, or start a new run (Φ0 and s0 have digest ${short(digest)}, stored is ${short(stored.digest)}).`,
    });
  }
  return digest;
}

export interface StoreBaseOptions {
  readonly engine: Pick<Engine, 'initialScales' | 'initialZeroPoints' | 'phi0' | 'readState'>;
  readonly linears: LoadBaseOptions['linears'];
  readonly runDirectory: string;
  readonly fileSystem: FileSystem;
  readonly digest: string;
  /** Fingerprint of the weights that another start was found for; null: Φ0 follows from the scales. */
  readonly started: string | null;
  /** A and B are those of the start. */
  readonly withFactors: boolean;
}

export async function storeBase(options: StoreBaseOptions): Promise<void> {
  const { engine, linears, runDirectory, fileSystem, digest, started, withFactors } = options;
  const floats = async (name: string, values: Promise<Float32Array>): Promise<TensorToWrite> => {
    const data = await values;
    return { name, dtype: 'F32', shape: [data.length], data };
  };
  const tensors: TensorToWrite[] = [];
  for (const [name, spec] of Object.entries(linears)) {
    if (spec === null) continue;
    tensors.push(await floats(name, engine.initialScales(name)));
    if (spec.symmetric === false) tensors.push(await floats(name + ZERO_POINTS, engine.initialZeroPoints(name)));
    if (started !== null) {
      const data = await engine.phi0(name);
      tensors.push({ name: name + PHI0, dtype: 'U8', shape: [data.length], data });
    }
    if (!withFactors || spec.rank === 0) continue;
    for (const kind of ['a', 'b'] as const) {
      tensors.push(await floats(name + FACTORS[kind], engine.readState(name, kind, 'value')));
    }
  }
  await fileSystem.mkdir(baseFolder(runDirectory));
  const metadata = { format: 'lrqat-base', digest, ...(started === null ? {} : { started }) };
  await writeSafetensors(scalesFile(runDirectory), tensors, { fileSystem, metadata });
  await fileSystem.syncFolder(runDirectory);
}

export function hasStoredBase(runDirectory: string): boolean {
  return existsSync(scalesFile(runDirectory));
}

/** Identity of the pretrained weights of these linears, which the digest of a start does not show: the beginning of each. */
export async function weightsFingerprint(
  { tensors }: Pick<HuggingFaceModel, 'tensors'>,
  linears: LoadBaseOptions['linears'],
): Promise<string> {
  const hash = createHash('sha256');
  const isQuantized = (tensor: string): boolean => (linears[tensor.replace(/\.weight$/, '')] ?? null) !== null;
  for (const { name, file, offset, bytes } of tensors) {
    if (!isQuantized(name)) continue;
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(bytes, 4096)), 0, null, offset);
      hash.update(`${name} ${String(bytes)}\n`).update(buffer.subarray(0, bytesRead));
    } finally {
      await handle.close();
    }
  }
  return hash.digest('hex');
}

interface Factor {
  readonly linear: string;
  readonly kind: 'a' | 'b';
  readonly values: Float32Array;
}

interface StoredBase {
  readonly scales: Record<string, Float32Array>;
  readonly zeroPoints: Record<string, Float32Array>;
  readonly phi0: Record<string, StoredTensor>;
  readonly factors: readonly Factor[];
  readonly digest: string;
  readonly started: string | null;
}

async function readBase(file: string): Promise<StoredBase> {
  const opened = await SafetensorsFile.open(file);
  try {
    const digest = opened.metadata['digest'];
    if (digest === undefined) throw new UserError('DamagedFile', `${file}: has no digest`);
    const scales: Record<string, Float32Array> = {};
    const zeroPoints: Record<string, Float32Array> = {};
    const phi0: Record<string, StoredTensor> = {};
    const factors: Factor[] = [];
    for (const name of opened.tensors.keys()) {
      if (name.endsWith(PHI0)) {
        phi0[name.slice(0, -PHI0.length)] = { file, offset: opened.info(name).offset };
        continue;
      }
      const values = await opened.readTensorAs(name, 'F32');
      const kind = (['a', 'b'] as const).find((each) => name.endsWith(FACTORS[each]));
      if (kind !== undefined) factors.push({ linear: name.slice(0, -FACTORS[kind].length), kind, values });
      else if (name.endsWith(ZERO_POINTS)) zeroPoints[name.slice(0, -ZERO_POINTS.length)] = values;
      else scales[name] = values;
    }
    return { scales, zeroPoints, phi0, factors, digest, started: opened.metadata['started'] ?? null };
  } finally {
    await opened.close();
  }
}

function short(digest: string): string {
  return digest.slice(0, 12);
}
