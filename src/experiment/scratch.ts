// What the CPU's operations take inside one call: the mirror of CpuBackend::scratchBytes (native/cpu/cpu_backend.cpp).

import type { EngineLayout } from './memory-layout';

export function scratchBytes(plan: EngineLayout): number {
  return plan.threads * 0;
}
