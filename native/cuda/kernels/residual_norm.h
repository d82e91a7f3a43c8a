// Backward of the norm and, in the same pass, of the residual sum that made its input.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// rmsNormBackward(dy, x, weight, rstd, dx), then addResidualBackward(dx, raw, gradient) without reading dx again. dx
/// and dYs have the bits of the two calls, ds their value in another order of additions.
void addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                             const RawOutput& raw, const RawOutputGradient& gradient, Scratch& scratch,
                             cudaStream_t stream);
int64_t addResidualNormBackwardScratchBytes(int64_t tokens, int64_t columns);

}  // namespace lrqat::cuda
