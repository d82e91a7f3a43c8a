// Which device a queued run waits for.
import { chooseGpu, gpusFor, type CudaProbe } from './gpu';
import type { NativeProbe } from './probe-native';

/** `cpu`, or the GPUs that an experiment's `device` means here and now (`cuda:0`), the one with the most free memory first: several
 *  runs are dealt out to them in turn. Never empty.
 *  @param probe asked only where a GPU may be meant
 *  @throws UserError DeviceUnavailable */
export async function queueDevices(device: string, probe: () => Promise<NativeProbe>): Promise<readonly string[]> {
  if (device === 'cpu') return [device];
  const found = await probe();
  const gpus = found.ok ? gpusFor(device, found.cuda) : [];
  return gpus.length === 0 ? ['cpu'] : gpus.map(({ device: { index } }) => `cuda:${String(index)}`);
}

/** The same for one run. */
export async function queueDevice(device: string, probe: () => Promise<NativeProbe>): Promise<string> {
  return (await queueDevices(device, probe))[0] ?? 'cpu';
}

/** Where a run computes that the queue has given a device: there, unless its experiment names another one or it cannot be used. */
export function deviceFromQueue(device: string, given: string | null, cuda: CudaProbe): string {
  if (given === null || (device !== 'auto' && device !== 'cuda')) return device;
  if (given === 'cpu') return device === 'auto' ? given : device;
  try {
    return chooseGpu(given, cuda) === null ? device : given;
  } catch {
    return device;
  }
}
