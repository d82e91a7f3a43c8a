// What the GPU of a run reports while it trains, at most once a second.

import type { DeviceConfig, LrqatAddon } from '../../native/binding/addon';
import type { GpuReading } from '../runs';

const INTERVAL_MS = 1000;

/** @returns the reading of now; undefined: the last one is less than a second old, or the GPU tells nothing, which is then not
 *  asked again */
export function gpuMeter(
  addon: Pick<LrqatAddon, 'gpuUsage'>,
  device: DeviceConfig,
  now: () => number = () => performance.now(),
): () => GpuReading | undefined {
  let next = device.type === 'cuda' && device.uuid !== undefined ? -Infinity : Infinity;
  return () => {
    if (now() < next || device.type !== 'cuda' || device.uuid === undefined) return undefined;
    next = now() + INTERVAL_MS;
    const usage = addon.gpuUsage(device.uuid);
    if (usage === null) {
      next = Infinity;
      return undefined;
    }
    const { utilization, watts, celsius, memoryUsed } = usage;
    return { utilization, watts, celsius, memoryUsed };
  };
}
