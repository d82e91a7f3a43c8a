// The rebuild of weights on Hopper's own instructions.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/kernels/clipped_count.h"
#include "cuda/kernels/rebuild.h"

namespace lrqat::cuda {

/// As rebuildWeight for WeightForm::Trained, not exact; false, and nothing done, on other devices and for shapes, types
/// and storages that have no kernel here.
bool rebuildOnHopper(const LinearWeight& weight, const LowRank& lowRank, Matrix out, const ClippedSet* clipped,
                     const ClippedReport& report, Start start, cudaStream_t stream);

}  // namespace lrqat::cuda
