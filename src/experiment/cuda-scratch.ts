// What the CUDA backend's operations take inside one call: the mirror of CudaBackend::scratchBytes (native/cuda).

import type { EngineLayout } from './memory-layout';

export function cudaScratchBytes(_plan: EngineLayout): number {
  return 0;
}
