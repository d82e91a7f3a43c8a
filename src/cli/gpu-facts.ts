// What the GPU of a run reported last, for people.
import { formatBytes } from '../experiment';
import type { GpuReading } from '../runs';

/** A row for `lrqat show`, or none where nothing is known. */
export function gpuFacts(gpu: GpuReading | null): [string, string][] {
  if (gpu === null) return [];
  const { utilization, watts, celsius, memoryUsed } = gpu;
  const parts = [
    ...(utilization === null ? [] : [`${String(Math.round(100 * utilization))} % busy`]),
    ...(memoryUsed === null ? [] : [`${formatBytes(memoryUsed)} taken`]),
    ...(watts === null ? [] : [`${String(Math.round(watts))} W`]),
    ...(celsius === null ? [] : [`${String(Math.round(celsius))} °C`]),
  ];
  return parts.length === 0 ? [] : [['GPU', parts.join(', ')]];
}
