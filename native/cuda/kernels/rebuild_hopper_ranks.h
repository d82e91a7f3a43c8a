// The rebuild of weights of many ranks on Hopper's own instructions.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/kernels/clipped_count.h"
#include "cuda/kernels/rebuild.h"

namespace lrqat::cuda {

/// As rebuildOnHopper, for ranks of 33 to 128.
bool rebuildRanksOnHopper(const LinearWeight& weight, const LowRank& lowRank, Matrix out, const ClippedSet* clipped,
                          const ClippedReport& report, Start start, cudaStream_t stream);

}  // namespace lrqat::cuda
