// What validation and estimates ask of this machine. The engine itself is only looked at in a child process.
import path from 'node:path';
import type { World } from '../experiment';
import { openWorld } from '../experiment/world';
import { chooseGpu, machineFor, probeNative, type NativeProbe } from '../launch';

let probing: Promise<NativeProbe> | null = null;

/** Asked once a command. */
function probe(): Promise<NativeProbe> {
  probing ??= probeNative();
  return probing;
}

/** What a queued experiment waits for: `cpu`, or the GPU that its `device` means here and now.
 *  @throws UserError DeviceUnavailable */
export async function queueDevice(device: string): Promise<string> {
  if (device === 'cpu') return device;
  const found = await probe();
  const gpu = found.ok ? chooseGpu(device, found.cuda) : null;
  return gpu === null ? 'cpu' : `cuda:${String(gpu.device.index)}`;
}

/** @param experimentFile relative paths start at its folder
 *  @param runsFolder where the run would lie
 *  @param device of the experiment */
export async function worldFor(experimentFile: string, runsFolder: string, device: string): Promise<World> {
  const { machine, gpuProblem } = machineFor(device, await probe());
  return openWorld({ machine, gpuProblem, baseFolder: path.dirname(experimentFile), runsFolder, addonFile: null });
}
