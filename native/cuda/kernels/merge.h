// The trained integers as packed offset codes, for the merged checkpoint.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Device memory that `mergeWeight` takes.
constexpr int64_t mergeScratchBytes() {
  return Scratch::padded(HostStaging::panelBytes);
}

/// hostCodes [m, packedRowBytes(bits, n)]: codes Q + 2^(bits − 1), Q as rebuildWeight(Trained) with the same `exact`
/// makes it; what pads a row is the code of 0. Waits for the device.
void mergeWeight(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes, bool exact, Scratch& scratch,
                 cudaStream_t stream);

}  // namespace lrqat::cuda
