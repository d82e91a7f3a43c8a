// Which device a queued run waits for.
import { chooseGpu } from './gpu';
import type { NativeProbe } from './probe-native';

/** `cpu`, or the GPU that an experiment's `device` means here and now (`cuda:0`).
 *  @param probe asked only where a GPU may be meant
 *  @throws UserError DeviceUnavailable */
export async function queueDevice(device: string, probe: () => Promise<NativeProbe>): Promise<string> {
  if (device === 'cpu') return device;
  const found = await probe();
  const gpu = found.ok ? chooseGpu(device, found.cuda) : null;
  return gpu === null ? 'cpu' : `cuda:${String(gpu.device.index)}`;
}
