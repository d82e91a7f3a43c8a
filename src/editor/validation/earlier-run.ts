// What an earlier run says about the speed of a GPU: how much faster or slower it was than the cost model thinks.
import { readFile } from 'node:fs/promises';
import { estimate, parseExperiment, type Calibration, type World } from '../../experiment';
import { runPaths, type RunEntry } from '../../runs';

export interface EarlierRun {
  readonly directory: string;
  readonly tokensPerSecond: number;
}

/** Of the runs of an experiment file the newest whose speed is known. */
export function earlierRunOf(file: string, entries: readonly RunEntry[]): EarlierRun | null {
  let newest: (EarlierRun & { readonly created: number }) | null = null;
  for (const entry of entries) {
    if (entry.kind !== 'run' || entry.origin.experimentFile !== file) continue;
    const { directory, status, result } = entry;
    const tokensPerSecond = result?.tokensPerSecond ?? status.tokensPerSecond ?? 0;
    if (!(tokensPerSecond > 0) || (newest !== null && newest.created > status.created)) continue;
    newest = { directory, tokensPerSecond, created: status.created };
  }
  return newest;
}

/** Measured over estimated speed of the earlier run; null: it was on another device, or its files do not say.
 *  @param rates what the estimate of that run is made with */
export async function measuredFactor(
  { directory, tokensPerSecond }: EarlierRun,
  gpuName: string,
  world: World,
  rates: Calibration,
): Promise<number | null> {
  const { experiment: file, provenance } = runPaths(directory);
  try {
    const where: unknown = JSON.parse(await readFile(provenance, 'utf8'));
    if (gpuOf(where) !== gpuName) return null;
    const { experiment } = parseExperiment(await readFile(file, 'utf8'), file);
    if (experiment === undefined) return null;
    const { shape } = await world.openModel(experiment.model.path);
    const expected = estimate({ experiment, shape, machine: world.machine, calibration: rates }).tokensPerSecond;
    const factor = expected > 0 ? tokensPerSecond / expected : 0;
    return factor > 0 && Number.isFinite(factor) ? factor : null;
  } catch {
    // Deleted in the meantime, or its model is gone: then there is only the guess.
    return null;
  }
}

function gpuOf(provenance: unknown): string | null {
  const field = (value: unknown, key: string): unknown =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
  const name = field(field(field(provenance, 'device'), 'gpu'), 'name');
  return typeof name === 'string' ? name : null;
}
