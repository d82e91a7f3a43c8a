// `memoryLimit` in bytes. Free of Node, so that a webview can plan.

import type { Experiment } from './schema';

/** Share of the memory that "auto" takes. Of the machine's, the rest is for the system, the page cache and the editor; of what is
 *  free on a GPU, for what its libraries allocate by themselves. */
export const AUTO_MEMORY_SHARE = { cpu: 0.75, cuda: 0.95 } as const;

const units: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Bytes that the engine may allocate; `totalMemory` is the machine's, or what is free on the GPU. */
export function memoryLimitBytes(
  limit: Experiment['memoryLimit'],
  totalMemory: number,
  device: keyof typeof AUTO_MEMORY_SHARE = 'cpu',
): number {
  if (typeof limit === 'number') return limit;
  if (limit === 'auto') return Math.floor(totalMemory * AUTO_MEMORY_SHARE[device]);
  const [, amount, unit] = /^([0-9.]+) ?([KMGT]?i?B)$/.exec(limit) ?? [];
  const factor = unit === undefined ? undefined : units[unit];
  if (amount === undefined || factor === undefined) {
    throw new RangeError(`memoryLimit: ${JSON.stringify(limit)} is no size; use "auto" or a size such as "6 GiB"`);
  }
  return Math.floor(Number(amount) * factor);
}
