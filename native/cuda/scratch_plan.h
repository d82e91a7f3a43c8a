// Scratch memory of the CUDA backend by the shape of a model; needs no GPU.
#pragma once

#include <cstdint>

#include "core/memory_plan.h"

namespace lrqat::cuda {

/// The workspace of cuBLASLt and the largest scratch that any one operation takes. Mirrored by
/// src/experiment/cuda-scratch.ts.
int64_t scratchBytes(const EngineShape& shape);

}  // namespace lrqat::cuda
