// What validation and estimates ask of this machine. The engine itself is only looked at in a child process.
import path from 'node:path';
import type { World } from '../experiment';
import { openWorld } from '../experiment/world';
import { machineFor, probeNative, type NativeProbe } from '../launch';

let probing: Promise<NativeProbe> | null = null;

/** Asked once a command. */
export function probe(): Promise<NativeProbe> {
  probing ??= probeNative();
  return probing;
}

/** @param experimentFile relative paths start at its folder
 *  @param runsFolder where the run would lie
 *  @param device of the experiment */
export async function worldFor(experimentFile: string, runsFolder: string, device: string): Promise<World> {
  const { machine, gpuProblem } = machineFor(device, await probe());
  return openWorld({ machine, gpuProblem, baseFolder: path.dirname(experimentFile), runsFolder, addonFile: null });
}
