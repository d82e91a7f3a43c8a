// What a run will wait for.
import { readFile } from 'node:fs/promises';
import { queueDevice } from '../../launch/queue-device';
import { runPaths } from '../../runs';
import type { EngineFacts } from '../start/engine-facts';

/** Of a run that exists, from its frozen experiment; one that cannot be read waits for what is there. */
export async function deviceOfRun(directory: string, engine: EngineFacts): Promise<string> {
  let device = 'auto';
  try {
    const experiment: unknown = JSON.parse(await readFile(runPaths(directory).experiment, 'utf8'));
    if (typeof experiment === 'object' && experiment !== null && 'device' in experiment) {
      if (typeof experiment.device === 'string') device = experiment.device;
    }
  } catch {
    // The trainer will say what is wrong with it.
  }
  return queueDevice(device, () => engine.probe());
}
