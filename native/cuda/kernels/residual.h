// Residual stream: x + s∘P + bias, and its backward. Together with the norm that follows: norm.h.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// out = x + s∘P + bias. x and out [T, m] float32 or bf16, may be the same memory; P float32 or bf16.
void addResidual(Matrix x, const RawOutput& raw, Matrix out, cudaStream_t stream);

/// dYs = dY∘s and ds += Σ_t dY·P, for dY float32 [T, m].
void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient, Scratch& scratch,
                         cudaStream_t stream);
int64_t addResidualBackwardScratchBytes(int64_t tokens, int64_t columns);

}  // namespace lrqat::cuda
