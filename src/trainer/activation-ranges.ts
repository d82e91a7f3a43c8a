// Static ranges of activations: found once, on the weights that training starts from, and stored in base/activations.safetensors:
// `ranges` F32 [layers, quantized sites, 2], smallest and largest number. Scales and zero points that are trained from there are part of
// checkpoints like all that is trained.

import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Engine } from '../../native/binding/addon';
import { staticRangesOf, startOf } from '../experiment';
import type { FileSystem } from '../formats/file-system';
import { SafetensorsFile } from '../formats/safetensors-file';
import { writeSafetensors } from '../formats/safetensors-writer';
import { baseFolder, hasStoredBase } from './base';
import type { PreparedRun } from './session';

export type RangedEngine = Pick<Engine, 'activationRanges' | 'setActivationRanges'>;

function rangesFile(runDirectory: string): string {
  return path.join(baseFolder(runDirectory), 'activations.safetensors');
}

export function hasActivationRanges(runDirectory: string): boolean {
  return existsSync(rangesFile(runDirectory));
}

/** Gives an engine that has been loaded the ranges of a run. */
export async function loadActivationRanges(engine: RangedEngine, runDirectory: string): Promise<void> {
  const file = await SafetensorsFile.open(rangesFile(runDirectory));
  try {
    await engine.setActivationRanges(await file.readTensorAs('ranges', 'F32'));
  } finally {
    await file.close();
  }
}

async function storeActivationRanges(
  engine: RangedEngine,
  runDirectory: string,
  fileSystem: FileSystem,
): Promise<void> {
  const data = await engine.activationRanges();
  await fileSystem.mkdir(baseFolder(runDirectory));
  await writeSafetensors(
    rangesFile(runDirectory),
    [{ name: 'ranges', dtype: 'F32', shape: [data.length / 2, 2], data }],
    { fileSystem, metadata: { format: 'lrqat-activation-ranges' } },
  );
  await fileSystem.syncFolder(runDirectory);
}

/** Ranges of a run's engine that has just been loaded: the stored ones, or those of a calibration, which are stored unless another
 *  start is still to come: activations depend on the weights. */
export async function ensureActivationRanges(run: PreparedRun, engine: Engine): Promise<void> {
  const { experiment, directory, fileSystem, writer } = run;
  const settings = staticRangesOf(experiment);
  if (settings === null || run.calibrationSequences === null) return;
  if (hasActivationRanges(directory)) return loadActivationRanges(engine, directory);
  writer.update({ phase: 'calibrating the activations', progress: null });
  const sequences = run.calibrationSequences(settings.sequences);
  const begun = performance.now();
  await engine.calibrateActivations(sequences, experiment.data.sequenceLength);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const count = sequences.tokens.length / experiment.data.sequenceLength;
  await writer.log(`ranges of activations from ${String(count)} sequences in ${seconds} s`);
  if (startOf(experiment) === null || hasStoredBase(directory)) {
    await storeActivationRanges(engine, directory, fileSystem);
  }
}
